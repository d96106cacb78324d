/* Measures the time from a launcher's start to its exec of QEMU, without a tracer.
 *   start FILE PROGRAM ARG...   writes the current time to FILE and executes PROGRAM
 *   qemu  ARG...                takes the place of QEMU: prints the current time as its error, which
 *                               it may in a sandbox, too
 * One program under two names, so that both read the same clock in the same way, in nanoseconds. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t nanoseconds = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;

    const char *name = strrchr(argv[0], '/');
    if (strcmp(name ? name + 1 : argv[0], "start")) {
        fprintf(stderr, "%lld\n", (long long)nanoseconds);
        return 1;
    }
    FILE *started = argc < 3 ? NULL : fopen(argv[1], "w");
    if (!started) return 2;
    fprintf(started, "%lld\n", (long long)nanoseconds);
    fclose(started);
    execv(argv[2], argv + 2);
    return 2;
}
