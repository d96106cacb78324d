/* Measures the time from a launcher's start to its exec of QEMU, without a tracer.
 *   DIR/start PROGRAM ARG...   writes the current time to DIR/started and executes PROGRAM
 *   DIR/qemu  ARG...           takes the place of QEMU: appends the nanoseconds since then as
 *                              a line to DIR/times and exits
 * One program under two names, so that both read the same clock in the same way. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t nanoseconds = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;

    char directory[4096];
    ssize_t length = readlink("/proc/self/exe", directory, sizeof directory - 1);
    if (length < 0) return 2;
    directory[length] = 0;
    /* Two hard links to one file: our name is the last part of our own path. */
    char *name = strrchr(directory, '/');
    *name++ = 0;
    if (chdir(directory)) return 2;

    if (!strcmp(name, "start")) {
        FILE *started = fopen("started", "w");
        if (!started || argc < 2) return 2;
        fprintf(started, "%ld\n", (long)nanoseconds);
        fclose(started);
        execv(argv[1], argv + 1);
        return 2;
    }
    long started;
    FILE *file = fopen("started", "r");
    if (!file || fscanf(file, "%ld", &started) != 1) return 2;
    FILE *times = fopen("times", "a");
    if (!times) return 2;
    fprintf(times, "%ld\n", (long)(nanoseconds - started));
    return 1;
}
