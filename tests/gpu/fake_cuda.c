/* A library that has the functions of CUDA's driver with which memory is taken, and a card that fake_nvml.c tells of: the
   file that FAKE_NVML names. What a process takes is added there to what is in use and to the list of processes, and taken
   out when the process ends. A context costs CONTEXT bytes. FAKE_CUDA says how the driver is: `hides` what each process
   takes, or `lies`, and tells half of it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define CONTEXT 104857600LL

static long long mine;

static void account(long long size, int is_here) {
    char path[4096], line[8192], rest[65536] = "", list[8192] = "", own[64];
    const char *told = getenv("FAKE_NVML"), *how = getenv("FAKE_CUDA");
    long long total = 0, used = 0;
    snprintf(path, sizeof path, "%s.lock", told);
    FILE *lock = fopen(path, "w");
    flock(fileno(lock), LOCK_EX);
    FILE *file = fopen(told, "r");
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, "0.compute", 9)) {
            line[strcspn(line, "\n")] = 0;
            snprintf(list, sizeof list, "%s", line + 9);
        } else if (sscanf(line, "0.memory %lld %lld", &total, &used) != 2) strncat(rest, line, sizeof rest - strlen(rest) - 1);
    }
    fclose(file);
    snprintf(path, sizeof path, "%s.%d", told, (int)getpid());
    file = fopen(path, "w");
    fprintf(file, "%s0.memory %lld %lld\n0.compute", rest, total, used + size);
    for (char *part = strtok(list, " "); part; part = strtok(NULL, " "))
        if (atoi(part) != getpid()) fprintf(file, " %s", part);
    if (how && !strcmp(how, "hides")) snprintf(own, sizeof own, "?");
    else snprintf(own, sizeof own, "%lld", how && !strcmp(how, "lies") ? size / 2 : size);
    if (is_here) fprintf(file, " %d:%s", (int)getpid(), own);
    fprintf(file, "\n");
    fclose(file);
    rename(path, told);
    fclose(lock);
}

int cuInit(unsigned flags) { return (int)flags; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuCtxCreate_v2(void **context, unsigned flags, int device) { *context = &mine; return (int)flags + device; }
int cuMemAlloc_v2(uint64_t *pointer, size_t size) {
    mine = (long long)size + CONTEXT;
    *pointer = 1;
    account(mine, 1);
    return 0;
}

__attribute__((destructor)) static void give_back(void) { if (mine) account(-mine, 0); }
