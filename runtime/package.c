#include "package.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { HASH_CHUNK = 16 << 20 };

/* A file that may hold the payload. */
struct source {
    int fd; /* -1: not open */
    uint64_t bytes;
    char path[PATH_MAX];
};

static int source_open(struct source *source, const char *open_path, const char *shown_path, struct error *error)
{
    snprintf(source->path, sizeof source->path, "%s", shown_path);
    source->fd = open(open_path, O_RDONLY | O_CLOEXEC);
    if (source->fd < 0)
        return error_set(error, "%s: cannot open it: %s", shown_path, strerror(errno));
    struct stat status;
    if (fstat(source->fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(source->fd);
        source->fd = -1;
        return error_set(error, "%s: expected a file with weights, found something else", shown_path);
    }
    source->bytes = (uint64_t)status.st_size;
    return 0;
}

static void source_close(struct source *source)
{
    if (source->fd >= 0)
        close(source->fd);
    source->fd = -1;
}

/* All of [offset, offset + bytes), or false. */
static bool read_at(const struct source *source, void *data, size_t bytes, uint64_t offset)
{
    unsigned char *out = data;
    while (bytes > 0) {
        ssize_t got = pread(source->fd, out, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        out += got;
        offset += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return true;
}

/* Where the program in an ELF file ends, so that what was appended can be told from what belongs to it;
   0 when the file is no 64-bit ELF file of this machine's byte order. */
static uint64_t elf_end(const struct source *source)
{
    Elf64_Ehdr header;
    if (!read_at(source, &header, sizeof header, 0) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64)
        return 0;
    /* Segments lie before the section headers unless these were removed altogether. */
    uint64_t end = header.e_shoff + (uint64_t)header.e_shnum * header.e_shentsize;
    if (header.e_phentsize != sizeof(Elf64_Phdr))
        return end;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        if (!read_at(source, &segment, sizeof segment, header.e_phoff + (uint64_t)i * sizeof segment))
            break;
        if (segment.p_offset + segment.p_filesz > end)
            end = segment.p_offset + segment.p_filesz;
    }
    return end;
}

/* Reads the trailer and sees to it that it is whole and fits the file. 1: it is; 0: there is none; -1:
 * damaged. */
static int read_trailer(const struct source *source, struct package_trailer *trailer, struct error *error)
{
    const char *path = source->path;
    if (source->bytes < sizeof *trailer)
        return 0;
    if (!read_at(source, trailer, sizeof *trailer, source->bytes - sizeof *trailer))
        return error_set(error, "%s: cannot read its end: %s", path, strerror(errno));
    if (memcmp(trailer->magic, PACKAGE_MAGIC, sizeof trailer->magic) != 0)
        return 0;
    if (trailer->trailer_hash != XXH3_64bits(trailer, offsetof(struct package_trailer, trailer_hash)))
        return error_set(error, "%s: its trailer is damaged (checksum of the last %zu bytes); copy the file again",
                         path, sizeof *trailer);
    if (trailer->version > PACKAGE_VERSION)
        return error_set(error,
                         "%s: its payload has format %u, this program reads up to %u; build both with the same lathe",
                         path, trailer->version, PACKAGE_VERSION);
    if (trailer->version != PACKAGE_VERSION || trailer->trailer_bytes != sizeof *trailer || trailer->reserved != 0)
        return error_set(error,
                         "%s: its trailer says format %u with %u bytes, expected format %u with %zu; build it again",
                         path, trailer->version, trailer->trailer_bytes, PACKAGE_VERSION, sizeof *trailer);
    uint64_t room = source->bytes - sizeof *trailer;
    if (trailer->payload_offset % PACKAGE_ALIGNMENT != 0 || trailer->payload_offset > room ||
        trailer->payload_bytes != room - trailer->payload_offset)
        return error_set(error,
                         "%s: its trailer places %llu bytes of payload at %llu, but the file has %llu bytes: bytes "
                         "were lost or added; copy the file again",
                         path, (unsigned long long)trailer->payload_bytes, (unsigned long long)trailer->payload_offset,
                         (unsigned long long)source->bytes);
    return 1;
}

/* Is it the payload that this model was compiled for? */
static int check_layout(const struct source *source, const struct package_trailer *trailer, const struct model *model,
                        struct error *error)
{
    char found[sizeof trailer->layout + 1] = "";
    for (size_t i = 0; i < sizeof trailer->layout; i++)
        found[i] = strchr("0123456789abcdef", trailer->layout[i]) && trailer->layout[i] ? trailer->layout[i] : '?';
    if (strlen(model->layout) != sizeof trailer->layout ||
        memcmp(model->layout, trailer->layout, sizeof trailer->layout) != 0)
        return error_set(error,
                         "%s: holds the weights of another model or build (layout %s, \"%s\" expects %s); use the "
                         "file that was built with this program",
                         source->path, found, model->name, model->layout);
    if (trailer->payload_bytes != model->payload_bytes)
        return error_set(error,
                         "%s: holds %llu bytes of weights, \"%s\" expects %llu; use the file that was built "
                         "with this program",
                         source->path, (unsigned long long)trailer->payload_bytes, model->name,
                         (unsigned long long)model->payload_bytes);
    return 0;
}

/* Why a file that should end in a trailer has none. library: it is a shared library, not an executable. */
static int explain_missing(const struct source *source, const struct model *model, bool library, struct error *error)
{
    uint64_t program = elf_end(source);
    uint64_t need = model->payload_bytes + sizeof(struct package_trailer);
    if (program == 0)
        return error_set(error,
                         "%s: no weights at its end: it has %llu bytes, expected %llu or more that end in a trailer; "
                         "it is truncated or no weights file; copy it again",
                         source->path, (unsigned long long)source->bytes, (unsigned long long)need);
    if (source->bytes < program)
        return error_set(error, "%s: it has %llu bytes, its program alone has %llu: truncated; copy it again",
                         source->path, (unsigned long long)source->bytes, (unsigned long long)program);
    if (source->bytes > program)
        return error_set(error,
                         "%s: %llu bytes follow the program, expected %llu or more that end in a trailer: truncated or "
                         "altered; copy it again",
                         source->path, (unsigned long long)(source->bytes - program), (unsigned long long)need);
    if (library)
        return error_set(
            error,
            "%s: found no weights beside it, neither in an executable \"%s\" nor in weights.bin; put one of "
            "them there, or name the file",
            source->path, model->name);
    return error_set(error,
                     "%s: carries no weights, and no weights.bin is beside it: was it stripped? copy it again, or pass "
                     "--weights FILE",
                     source->path);
}

static int map_payload(struct package *package, const struct source *source, const struct package_trailer *trailer,
                       struct error *error)
{
    /* The payload starts at a multiple of 4096; this system's pages may be larger. */
    long system_page = sysconf(_SC_PAGESIZE);
    uint64_t page = system_page > 0 ? (uint64_t)system_page : PACKAGE_ALIGNMENT;
    uint64_t start = trailer->payload_offset / page * page, before = trailer->payload_offset - start;
    uint64_t bytes = before + trailer->payload_bytes;
    if (bytes > SIZE_MAX / 2)
        return error_set(error, "%s: %llu bytes of weights do not fit this process", source->path,
                         (unsigned long long)bytes);
    void *mapping = mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, source->fd, (off_t)start);
    if (mapping == MAP_FAILED)
        return error_set(error, "%s: cannot map %llu bytes of weights: %s", source->path, (unsigned long long)bytes,
                         strerror(errno));
    package->mapping = mapping;
    package->mapping_bytes = bytes;
    package->payload = (const unsigned char *)mapping + before;
    package->bytes = trailer->payload_bytes;
    memcpy(package->hash, trailer->payload_hash, sizeof package->hash);
    snprintf(package->path, sizeof package->path, "%s", source->path);
    /* Hints: reading ahead while the rest starts up; huge pages where the file system has them. */
    (void)madvise(mapping, (size_t)bytes, MADV_WILLNEED);
    (void)madvise(mapping, (size_t)bytes, MADV_HUGEPAGE);
    return 0;
}

int package_check_hash(const struct package *package, const uint8_t hash[16], struct error *error)
{
    if (memcmp(hash, package->hash, sizeof package->hash) != 0)
        return error_set(error,
                         "%s: its weights are damaged: the checksum of their %llu bytes does not match; copy or build "
                         "the file again",
                         package->path, (unsigned long long)package->bytes);
    return 0;
}

static int verify_payload(const struct package *package, void (*progress)(void *, const char *, uint64_t, uint64_t),
                          void *progress_context, struct error *error)
{
    XXH3_state_t *hash = XXH3_createState();
    if (!hash)
        return error_set(error, "out of memory to check the weights");
    XXH3_128bits_reset(hash);
    uint64_t bytes = package->bytes;
    for (uint64_t at = 0; at < bytes;) {
        size_t chunk = bytes - at < HASH_CHUNK ? (size_t)(bytes - at) : HASH_CHUNK;
        XXH3_128bits_update(hash, package->payload + at, chunk);
        at += chunk;
        if (progress)
            progress(progress_context, "checking the weights", at, bytes);
    }
    XXH128_canonical_t found;
    XXH128_canonicalFromHash(&found, XXH3_128bits_digest(hash));
    XXH3_freeState(hash);
    return package_check_hash(package, found.digest, error);
}

/* The program or library that holds `address`. */
struct object {
    const void *address;
    bool first;   /* the first object that the loader lists is the program */
    bool library; /* found in another one */
    char path[PATH_MAX];
};

static int look_at_object(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    struct object *object = context;
    bool program = object->first;
    object->first = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + segment->p_vaddr, address = (uintptr_t)object->address;
        if (segment->p_type != PT_LOAD || address < start || address - start >= segment->p_memsz)
            continue;
        object->library = !program && info->dlpi_name && info->dlpi_name[0];
        if (object->library)
            snprintf(object->path, sizeof object->path, "%s", info->dlpi_name);
        return 1;
    }
    return 0;
}

/* `name` in the folder of `path`; false when that is too long. */
static bool beside(char out[PATH_MAX], const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path) + 1 : 0;
    return snprintf(out, PATH_MAX, "%.*s%s", folder, path, name) < PATH_MAX;
}

/* Opens the file that ends in a trailer, as the header says where. */
static int find_source(struct source *source, struct package_trailer *trailer, const struct model *model,
                       const char *weights, struct error *error)
{
    int found;
    if (weights) {
        if (source_open(source, weights, weights, error) != 0)
            return -1;
        found = read_trailer(source, trailer, error);
        return found == 0 ? explain_missing(source, model, false, error) : found < 0 ? -1 : 0;
    }

    struct object object = {.address = model, .first = true};
    dl_iterate_phdr(look_at_object, &object);
    const char *open_path = object.path;
    if (!object.library) {
        open_path = "/proc/self/exe"; /* the very file that runs, even if its name has changed since */
        ssize_t length = readlink(open_path, object.path, sizeof object.path - 1);
        if (length <= 0)
            return error_set(error, "cannot find this program's own file: %s; pass --weights FILE", strerror(errno));
        object.path[length] = '\0';
    }
    struct source own;
    if (source_open(&own, open_path, object.path, error) != 0)
        return -1;
    *source = own;
    found = read_trailer(source, trailer, error);
    /* Something follows the program, but it does not end in a trailer: do not look elsewhere for what was
     * lost. */
    uint64_t program = found == 0 ? elf_end(source) : 0;
    if (found < 0 || (found == 0 && program != 0 && source->bytes != program))
        return found < 0 ? -1 : explain_missing(source, model, false, error);
    if (found == 1)
        return 0;

    const char *const names[] = {object.library ? model->name : NULL, "weights.bin"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[PATH_MAX];
        struct source other;
        if (!names[i] || !beside(path, object.path, names[i]) || access(path, F_OK) != 0)
            continue;
        if (source_open(&other, path, path, error) != 0)
            return -1;
        found = read_trailer(&other, trailer, error);
        bool last = strcmp(names[i], "weights.bin") == 0;
        if (found == 0 && !last) { /* a thin executable: weights.bin is beside it */
            source_close(&other);
            continue;
        }
        if (found == 0)
            explain_missing(&other, model, false, error);
        source_close(source);
        *source = other;
        return found == 1 ? 0 : -1;
    }
    return explain_missing(source, model, object.library, error);
}

int package_open(struct package *package, const struct model *model, const char *weights, bool verify,
                 void (*progress)(void *context, const char *what, uint64_t done, uint64_t total),
                 void *progress_context, struct error *error)
{
    memset(package, 0, sizeof *package);
    if (model->payload_bytes == 0) {
        if (weights)
            return error_set(error, "%s: \"%s\" is a package of random weights and takes no --weights", weights,
                             model->name);
        return 0;
    }
    struct source source = {.fd = -1};
    struct package_trailer trailer;
    int failed = find_source(&source, &trailer, model, weights, error) != 0 ||
                 check_layout(&source, &trailer, model, error) != 0 ||
                 map_payload(package, &source, &trailer, error) != 0 ||
                 (verify && verify_payload(package, progress, progress_context, error) != 0);
    source_close(&source);
    if (failed) {
        package_close(package);
        return -1;
    }
    return 0;
}

void package_close(struct package *package)
{
    if (package->mapping)
        munmap(package->mapping, (size_t)package->mapping_bytes);
    memset(package, 0, sizeof *package);
}
