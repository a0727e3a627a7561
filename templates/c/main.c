/* The executable: the commands of the runtime on this package's model.
 */
#include "commands.h"

extern const struct model package_model;

int main(int argc, char **argv)
{
    return commands_main(&package_model, argc, argv);
}
