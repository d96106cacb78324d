/* disk: what the tiny guest does to its disks. Linked statically into its initramfs.
 *   disk writeall      random data in the first and last MiB of every disk and in 64 more,
 *                      spread evenly; flushed; says "tiny: wrote-all"
 *   disk write         the same at random places for ever, saying "tiny: wrote N" (blocks,
 *                      flushed) as it goes
 *   disk fsync N       N writes of 4 KiB at random places of the first disk, each flushed
 *   disk sequential M  M MiB written in a row to the first disk, flushed once
 * The last two print their seconds. Places and data are the same at every boot, so that
 * two measurements compare. */
#include <fcntl.h>
#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20, BLOCK = 4096, DISKS = 32 };

static uint64_t state = 0x9e3779b97f4a7c15;
static uint64_t random64(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static int disks[DISKS], count;
static off_t sizes[DISKS];

static void die(const char *what) {
    printf("tiny: ");
    fflush(stdout);
    perror(what);
    exit(1);
}

static void open_disks(void) {
    glob_t found = {0};
    glob("/dev/vd?", 0, NULL, &found);
    glob("/dev/sd?", GLOB_APPEND, NULL, &found);
    glob("/dev/nvme?n?", GLOB_APPEND, NULL, &found);
    for (size_t i = 0; i < found.gl_pathc && count < DISKS; i++) {
        int fd = open(found.gl_pathv[i], O_RDWR);
        if (fd < 0) continue; /* a read-only disk */
        sizes[count] = lseek(fd, 0, SEEK_END);
        disks[count++] = fd;
    }
    if (!count) die("no disk");
}

static char data[MIB];
static void put(int disk, off_t at, size_t length) {
    if (at + (off_t)length > sizes[disk]) length = sizes[disk] - at;
    for (size_t i = 0; i < length; i += 512) *(uint64_t *)(data + i) = random64();
    if (pwrite(disks[disk], data, length, at) != (ssize_t)length) die("write");
}

static void flush(int disk) {
    if (fdatasync(disks[disk])) die("fsync");
}

static void write_all(void) {
    for (int disk = 0; disk < count; disk++) {
        off_t last = sizes[disk] > MIB ? sizes[disk] - MIB : 0;
        for (int i = 0; i <= 65; i++) put(disk, last / 65 * i / 512 * 512, MIB);
        put(disk, last, MIB);
        flush(disk);
    }
    printf("tiny: wrote-all\n");
}

static void write_for_ever(void) {
    printf("tiny: writing\n");
    for (int disk = 0; disk < count; disk++) {
        put(disk, 0, BLOCK);
        put(disk, sizes[disk] > BLOCK ? sizes[disk] - BLOCK : 0, BLOCK);
    }
    for (unsigned long blocks = 0;; blocks += 16) {
        for (int disk = 0; disk < count; disk++) {
            for (int i = 0; i < 16; i++)
                put(disk, random64() % (sizes[disk] / 512) * 512, 4 * BLOCK);
            flush(disk);
        }
        printf("tiny: wrote %lu\n", blocks + 16);
        fflush(stdout);
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    const char *action = argc > 1 ? argv[1] : "";
    long n = argc > 2 ? atol(argv[2]) : 0;
    for (size_t i = 0; i < sizeof data; i += 8) *(uint64_t *)(data + i) = random64();
    open_disks();
    setvbuf(stdout, NULL, _IOLBF, 0);
    double start = now();
    if (!strcmp(action, "writeall")) write_all();
    if (!strcmp(action, "write")) write_for_ever();
    if (!strcmp(action, "fsync"))
        for (long i = 0; i < n; i++) {
            put(0, random64() % (sizes[0] / BLOCK) * BLOCK, BLOCK);
            flush(0);
        }
    if (!strcmp(action, "sequential")) {
        for (long i = 0; i < n; i++) put(0, (off_t)i * MIB % (sizes[0] / MIB * MIB), MIB);
        flush(0);
    }
    printf("tiny: %s %ld seconds %.4f\n", action, n, now() - start);
    return 0;
}
