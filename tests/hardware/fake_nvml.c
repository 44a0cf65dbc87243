/* A library that has the functions of NVML and says what a file says, which the variable FAKE_NVML names: lines of
   NAME VALUE, read anew at each call. NAME begins with the number of a GPU (0.uuid) or of its part (0/1.uuid). What the
   file does not have is not supported. PLAIN leaves out what newer drivers brought, V2 the newest of that. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };
typedef struct { unsigned pid; uint64_t used; } ProcessV1;
typedef struct { unsigned pid; uint64_t used; unsigned gpu, compute; } ProcessV2;
typedef struct { uint64_t total, free, used; } Memory;
typedef struct { char legacy[16]; unsigned domain, bus, device, ids, subsystem; char bus_id[32]; } Pci;
typedef struct {
    unsigned field, scope; long long timestamp, latency; unsigned type; int status; union { unsigned u; double d; } value;
} FieldValue;

static char said[4096];

static const char *find(const char *name) {
    static char line[8192], key[256];
    FILE *file = fopen(getenv("FAKE_NVML"), "r");
    const char *found = NULL;
    while (file && !found && fgets(line, sizeof line, file)) {
        int end = 0;
        if (sscanf(line, "%255s %n", key, &end) == 1 && !strcmp(key, name)) {
            line[strcspn(line, "\n")] = 0;
            snprintf(said, sizeof said, "%s", line + end);
            found = said;
        }
    }
    if (file) fclose(file);
    return found;
}

/* A handle is 1 + GPU, and for a part 256 * (1 + part) more. */
static const char *of(void *handle, const char *what) {
    static char name[128];
    uintptr_t number = (uintptr_t)handle;
    if (number >= 256) snprintf(name, sizeof name, "%u/%u.%s", (unsigned)(number % 256 - 1), (unsigned)(number / 256 - 1), what);
    else snprintf(name, sizeof name, "%u.%s", (unsigned)(number - 1), what);
    return find(name);
}

static int text(const char *value, char *out, unsigned size) {
    if (!value) return NOT_SUPPORTED;
    snprintf(out, size, "%s", value);
    return SUCCESS;
}

static int number(const char *value, unsigned *out) {
    if (!value) return NOT_SUPPORTED;
    *out = strtoul(value, NULL, 10);
    return SUCCESS;
}

#ifdef PLAIN
#define NEWEST(name) name
#else
#define NEWEST(name) name##_v2
#endif

int NEWEST(nvmlInit)(void) { const char *code = find("init"); return code ? atoi(code) : SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == 18 ? "Driver/library version mismatch" : "Unknown Error"; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { return text(find("driver"), out, size); }
int NEWEST(nvmlDeviceGetCount)(unsigned *out) {
    const char *count = find("count");
    if (!count) return GPU_IS_LOST;
    *out = atoi(count);
    return SUCCESS;
}
int NEWEST(nvmlDeviceGetHandleByIndex)(unsigned index, void **out) {
    *out = (void *)(uintptr_t)(index + 1);
    return of(*out, "lost") ? GPU_IS_LOST : SUCCESS;
}
int nvmlDeviceGetUUID(void *handle, char *out, unsigned size) { return text(of(handle, "uuid"), out, size); }
int nvmlDeviceGetName(void *handle, char *out, unsigned size) { return text(of(handle, "name"), out, size); }
int nvmlDeviceGetMemoryInfo(void *handle, Memory *out) {
    const char *code = of(handle, "memory_error"), *value;
    if (code) return atoi(code);
    value = of(handle, "memory");
    if (!value || sscanf(value, "%lu %lu", &out->total, &out->used) != 2) return NOT_SUPPORTED;
    out->free = out->total - out->used - 300;
    return SUCCESS;
}
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *out) { return number(of(handle, sensor ? "?" : "temp"), out); }
int nvmlDeviceGetFanSpeed(void *handle, unsigned *out) { return number(of(handle, "fan"), out); }
int nvmlDeviceGetPowerUsage(void *handle, unsigned *out) { return number(of(handle, "power"), out); }
int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *out) { return number(of(handle, "limit"), out); }
int nvmlDeviceGetUtilizationRates(void *handle, unsigned *out) {
    const char *value = of(handle, "busy");
    return value && sscanf(value, "%u %u", out, out + 1) == 2 ? SUCCESS : NOT_SUPPORTED;
}
#ifndef PLAIN
int nvmlDeviceGetArchitecture(void *handle, unsigned *out) { return number(of(handle, "architecture"), out); }
int nvmlDeviceGetPciInfo_v3(void *handle, Pci *out) {
    const char *value = of(handle, "pci");
    memset(out, 0, sizeof *out);
    return value && sscanf(value, "%x:%x:%x", &out->domain, &out->bus, &out->device) == 3 ? SUCCESS : NOT_SUPPORTED;
}
int nvmlDeviceGetFieldValues(void *handle, int count, FieldValue *out) {
    const char *value = count == 1 && out->field == 82 ? of(handle, "memory_temp") : NULL;
    out->status = value ? SUCCESS : NOT_SUPPORTED;
    out->type = 1;
    out->value.u = value ? atoi(value) : 0;
    return SUCCESS;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    *pending = 0;
    return number(of(handle, "mig"), current);
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *out) { return number(of(handle, "most_parts"), out); }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **out) {
    *out = (void *)((uintptr_t)handle + 256 * (index + 1));
    return of(*out, "uuid") ? SUCCESS : NOT_FOUND;
}
#endif

/* PID:BYTES ..., ? for bytes that are not known. */
static int processes(const char *value, unsigned *count, char *out, size_t size) {
    unsigned room = *count, found = 0;
    if (!value) return NOT_SUPPORTED;
    for (const char *at = value; *at; ++found) {
        char *end;
        unsigned pid = strtoul(at, &end, 10);
        uint64_t used = end[1] == '?' ? UINT64_MAX : strtoull(end + 1, NULL, 10);
        if (found < room) {
            memset(out + found * size, 0x55, size);
            ((ProcessV1 *)(out + found * size))->pid = pid;
            ((ProcessV1 *)(out + found * size))->used = used;
        }
        at = strchr(at, ' ') ? strchr(at, ' ') + 1 : at + strlen(at);
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
#if defined PLAIN
#define LIST(kind) nvmlDeviceGet##kind##RunningProcesses
#define PROCESS ProcessV1
#elif defined V2
#define LIST(kind) nvmlDeviceGet##kind##RunningProcesses_v2
#define PROCESS ProcessV2
#else
#define LIST(kind) nvmlDeviceGet##kind##RunningProcesses_v3
#define PROCESS ProcessV2
#endif
int LIST(Compute)(void *handle, unsigned *count, PROCESS *out) {
    return processes(of(handle, "compute"), count, (char *)out, sizeof(PROCESS));
}
int LIST(Graphics)(void *handle, unsigned *count, PROCESS *out) {
    return processes(of(handle, "graphics"), count, (char *)out, sizeof(PROCESS));
}
