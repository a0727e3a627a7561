# The libraries that lathe is built from: Debian's static archives, and cJSON from Debian's source package
# (Debian packs no static archive of it; ./bootstrap fetches the source).

function(lathe_static_library name header archive)
  find_path(${name}_INCLUDE ${header} PATH_SUFFIXES lua5.4 REQUIRED)
  find_library(${name}_ARCHIVE ${archive} REQUIRED)
  add_library(${name} STATIC IMPORTED GLOBAL)
  set_target_properties(${name} PROPERTIES IMPORTED_LOCATION ${${name}_ARCHIVE} INTERFACE_INCLUDE_DIRECTORIES
                                           ${${name}_INCLUDE})
endfunction()

lathe_static_library(lua lua.h liblua5.4.a)
lathe_static_library(pcre2 pcre2.h libpcre2-8.a)
lathe_static_library(utf8proc utf8proc.h libutf8proc.a)
lathe_static_library(xxhash xxhash.h libxxhash.a)
target_compile_definitions(pcre2 INTERFACE PCRE2_CODE_UNIT_WIDTH=8)
target_compile_definitions(utf8proc INTERFACE UTF8PROC_STATIC)
target_link_libraries(lua INTERFACE m dl)

set(CJSON_SOURCE ${CMAKE_SOURCE_DIR}/.cache/cjson CACHE PATH "unpacked source of cJSON (./bootstrap puts it here)")
if(NOT EXISTS ${CJSON_SOURCE}/cJSON.c)
  message(FATAL_ERROR "cJSON's source is not in ${CJSON_SOURCE}: run ./bootstrap build, which fetches it")
endif()
add_library(cjson STATIC ${CJSON_SOURCE}/cJSON.c)
target_include_directories(cjson SYSTEM INTERFACE ${CJSON_SOURCE})
target_compile_options(cjson PRIVATE -w)
target_compile_definitions(cjson PRIVATE CJSON_NESTING_LIMIT=1000 CJSON_HIDE_SYMBOLS)
target_compile_definitions(cjson INTERFACE CJSON_HIDE_SYMBOLS)
