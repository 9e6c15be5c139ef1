// A stand-in for ebpfapi.dll of eBPF for Windows: its functions as cilium/ebpf calls
// them, over objects in memory. It runs no program and judges no connection. It
// writes down every call, can fail each, and counts what stays open. Numbers and
// layouts are those of include/linux/bpf.h, ebpf_structs.h and ebpf_result.h of eBPF
// for Windows 1.5.
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define EXPORT __declspec(dllexport)

typedef int32_t fd_t;
typedef int32_t result_t;

enum { EBPF_SUCCESS = 0, EBPF_INVALID_FD = 4, EBPF_INVALID_ARGUMENT = 6, EBPF_FILE_NOT_FOUND = 9, EBPF_NO_MEMORY = 12, EBPF_FAILED = 17, EBPF_KEY_NOT_FOUND = 19, EBPF_EXTENSION_FAILED_TO_LOAD = 23 };
enum { NOT_FOUND = 2, BAD_FD = 9, NO_MEMORY = 12, EXISTS = 17, INVALID = 22, RANGE = 34, OTHER = 131 }; // errno

// Keys and values go to the kernel and back in a request, whose length is a u16, after
// 24 bytes (ebpf_operation_map_update_element_request_t in ebpf_protocol.h).
enum { LARGEST_ELEMENT = 65535 - 24 };

// The service's JIT has a buffer of 32 KB (MAX_NATIVE_CODE_SIZE_IN_BYTES in api_service.cpp):
// here 8 bytes an instruction.
enum { MOST_INSTRUCTIONS = 32 * 1024 / 8 };

enum { MAP = 1, LINK = 2, PROGRAM = 3 }; // ebpf_object_type_t
static const char *const kinds[] = {"", "map", "link", "program"};

enum { HASH = 1, ARRAY = 2, PERCPU_HASH = 4, PERCPU_ARRAY = 5, ARRAY_OF_MAPS = 7, LPM_TRIE = 9, RINGBUF = 13 };
enum { CGROUP_SOCK_ADDR = 3 };

typedef struct entry {
    struct entry *next;
    uint8_t *key, *value;
} entry;

typedef struct object {
    struct object *next, *holds; // holds: of a link the program
    int kind, references;
    uint32_t id;
    char name[64];
    uint32_t type, key, value, entries; // map
    entry *contents;
    uint8_t *consumer, *producer, *data; // ring buffer
    HANDLE wake;
    uint32_t instructions; // program
    char driver[260]; // the file of the driver that it is of
} object;

typedef struct pin {
    struct pin *next;
    object *of;
    char path[256];
} pin;

static CRITICAL_SECTION lock;
static object *objects;
static pin *pins;
static object *files[1024];
static uint32_t last_id;
static char calls[1 << 20];
static size_t calls_length;
static int count, fail_at, killed, old_version, no_loads, refusal;
static char refusal_log[64];

BOOL WINAPI DllMain(HINSTANCE self, DWORD reason, LPVOID reserved)
{
    if (reason == DLL_PROCESS_ATTACH)
        InitializeCriticalSection(&lock);
    return TRUE;
}

static void record(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    calls_length += vsnprintf(calls + calls_length, sizeof calls - calls_length - 2, format, list);
    if (calls_length > sizeof calls - 2)
        calls_length = sizeof calls - 2;
    calls[calls_length++] = '\n';
    calls[calls_length] = 0;
    va_end(list);
}

// failing counts a call and says whether it is the one that has to fail, or one that a
// process that was killed did not come to make.
static int failing(void)
{
    if (++count < fail_at || !fail_at || (count > fail_at && !killed))
        return 0;
    record("  FAILS");
    return 1;
}

static uint32_t u32(const void *p, size_t offset)
{
    uint32_t v;
    memcpy(&v, (const uint8_t *)p + offset, 4);
    return v;
}

static void *pointer(const void *p, size_t offset)
{
    uint64_t v;
    memcpy(&v, (const uint8_t *)p + offset, 8);
    return (void *)(uintptr_t)v;
}

static void put32(void *p, size_t offset, uint32_t v) { memcpy((uint8_t *)p + offset, &v, 4); }

static const char *hex(const uint8_t *p, size_t n)
{
    static char text[2][2 * 32 + 3];
    static int turn;
    char *t = text[turn ^= 1], *at = t;
    for (size_t i = 0; i < n && i < 32; i++)
        at += sprintf(at, "%02x", p[i]);
    strcpy(at, n > 32 ? ".." : "");
    return t;
}

// Objects.

static object *new_object(int kind, const char *name)
{
    object *o = calloc(1, sizeof *o);
    o->kind = kind;
    o->id = ++last_id;
    snprintf(o->name, sizeof o->name, "%s", name);
    o->next = objects;
    return objects = o;
}

static object *by_id(uint32_t id)
{
    object *o = objects;
    while (o && o->id != id)
        o = o->next;
    return o;
}

static void release(object *o)
{
    if (!o || --o->references > 0)
        return;
    record("  %s %s is gone", kinds[o->kind], o->name);
    object **at = &objects;
    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    release(o->holds);
    for (entry *e = o->contents, *next; e; e = next) {
        next = e->next;
        if (o->type == ARRAY_OF_MAPS)
            release(by_id(u32(e->value, 0)));
        free(e->key);
        free(e->value);
        free(e);
    }
    if (o->data)
        VirtualFree(o->consumer, 0, MEM_RELEASE);
    free(o);
}

static fd_t open_file(object *o)
{
    for (fd_t fd = 3; fd < 1024; fd++) {
        if (!files[fd]) {
            files[fd] = o;
            o->references++;
            return fd;
        }
    }
    return -1;
}

static object *file(fd_t fd, int kind)
{
    object *o = fd > 0 && fd < 1024 ? files[fd] : NULL;
    return o && (!kind || o->kind == kind) ? o : NULL;
}

// Maps.

static uint32_t processors(void) { return GetMaximumProcessorCount(ALL_PROCESSOR_GROUPS); }

static size_t value_size(const object *m)
{
    if (m->type == PERCPU_ARRAY || m->type == PERCPU_HASH)
        return (m->value + 7) / 8 * 8 * processors();
    return m->value;
}

static object *new_map(const char *name, uint32_t type, uint32_t key, uint32_t value, uint32_t entries)
{
    object *m = new_object(MAP, name);
    m->type = type, m->key = key, m->value = value, m->entries = entries;
    if (type == RINGBUF) { // pages of the consumer and the producer, and the data twice
        m->consumer = VirtualAlloc(NULL, 8192 + 2 * entries, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
        m->producer = m->consumer + 4096;
        m->data = m->consumer + 8192;
    }
    return m;
}

static entry *find(object *m, const uint8_t *key)
{
    entry *e = m->contents;
    while (e && memcmp(e->key, key, m->key))
        e = e->next;
    return e;
}

static entry *insert(object *m, const uint8_t *key)
{
    entry *e = calloc(1, sizeof *e);
    e->key = malloc(m->key);
    memcpy(e->key, key, m->key);
    e->value = calloc(1, value_size(m));
    e->next = m->contents;
    return m->contents = e;
}

static int is_array(const object *m) { return m->type == ARRAY || m->type == PERCPU_ARRAY || m->type == ARRAY_OF_MAPS; }

static int map_lookup(object *m, const uint8_t *key, uint8_t *value)
{
    entry *e = find(m, key);
    if (e)
        memcpy(value, e->value, value_size(m));
    else if (is_array(m) && m->type != ARRAY_OF_MAPS && u32(key, 0) < m->entries)
        memset(value, 0, value_size(m));
    else
        return -NOT_FOUND;
    return 0;
}

static int map_update(object *m, const uint8_t *key, const uint8_t *value)
{
    if (is_array(m) && u32(key, 0) >= m->entries)
        return -INVALID;
    object *inner = NULL;
    if (m->type == ARRAY_OF_MAPS && !(inner = file(u32(value, 0), MAP)))
        return -BAD_FD;
    entry *e = find(m, key);
    if (!e)
        e = insert(m, key);
    else if (inner)
        release(by_id(u32(e->value, 0)));
    if (inner) {
        inner->references++;
        put32(e->value, 0, inner->id);
    } else {
        memcpy(e->value, value, value_size(m));
    }
    return 0;
}

static int map_delete(object *m, const uint8_t *key)
{
    for (entry **at = &m->contents; *at; at = &(*at)->next) {
        entry *e = *at;
        if (!memcmp(e->key, key, m->key)) {
            *at = e->next;
            free(e->key);
            free(e->value);
            free(e);
            return 0;
        }
    }
    return -NOT_FOUND;
}

static int map_next(object *m, const uint8_t *key, uint8_t *next)
{
    entry *e = m->contents;
    if (key) {
        e = find(m, key);
        e = e ? e->next : m->contents;
    }
    if (!e)
        return -NOT_FOUND;
    memcpy(next, e->key, m->key);
    return 0;
}

// Programs.

// load checks what eBPF for Windows checks before its verifier: zeros where it
// supports nothing, and maps that are there.
static int load(const uint8_t *attr, size_t size)
{
    enum { TYPE = 0, COUNT = 4, CODE = 8, LOG_LEVEL = 24, LOG_SIZE = 28, LOG_BUFFER = 32, FLAGS = 44, NAME = 48, INTERFACE = 64, TRUE_SIZE = 140 };
    uint8_t all[TRUE_SIZE + 4] = {0};
    memcpy(all, attr, size < sizeof all ? size : sizeof all);
    uint32_t n = u32(all, COUNT);
    const uint8_t *code = pointer(all, CODE);
    record("prog_load type=%u instructions=%u", u32(all, TYPE), n);
    no_loads |= failing(); // cilium/ebpf tries again, with a log
    if (no_loads)
        return -NO_MEMORY;
    if (refusal && u32(all, LOG_LEVEL))
        snprintf(pointer(all, LOG_BUFFER), u32(all, LOG_SIZE), "%s", refusal_log);
    if (refusal)
        return -refusal;
    if (n > MOST_INSTRUCTIONS)
        return -OTHER;
    for (size_t i = INTERFACE; i < TRUE_SIZE; i++)
        if (all[i]) {
            record("  byte %u of the attributes is not zero", (unsigned)i);
            return -INVALID;
        }
    if (u32(all, FLAGS) || u32(all, TYPE) != CGROUP_SOCK_ADDR || !u32(all, LOG_LEVEL) != !pointer(all, LOG_BUFFER))
        return -INVALID;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *ins = code + 8 * i;
        uint32_t source = ins[1] >> 4, immediate = u32(ins, 4);
        if (ins[0] == 0x18) {
            object *m = source ? file(immediate, MAP) : NULL;
            if (source && !m) {
                record("  instruction %u: no map", i);
                return -BAD_FD;
            }
            i++;
        } else if (ins[0] == 0x85 && source == 0 && immediate > 0xffff + 3) {
            record("  instruction %u: no helper %u", i, immediate);
            return -INVALID;
        }
    }
    object *p = new_object(PROGRAM, (const char *)all + NAME);
    p->type = CGROUP_SOCK_ADDR;
    p->instructions = n;
    return open_file(p);
}

static int get_info(const uint8_t *attr)
{
    object *o = file(u32(attr, 0), 0);
    uint32_t length = u32(attr, 4);
    uint8_t *info = pointer(attr, 8), all[256] = {0};
    record("info %s", o ? o->name : "?");
    if (failing())
        return -NO_MEMORY;
    if (!o)
        return -BAD_FD;
    put32(all, 0, o->type);
    put32(all, 4, o->id);
    if (o->kind == MAP) {
        put32(all, 8, o->key), put32(all, 12, o->value), put32(all, 16, o->entries);
        memcpy(all + 24, o->name, 15);
    } else if (o->kind == PROGRAM) {
        memcpy(all + 64, o->name, 15);
    } else if (o->holds) {
        put32(all, 8, o->holds->id);
    }
    memcpy(info, all, length < sizeof all ? length : sizeof all);
    return 0;
}

// pin_at is where the pin at a path is linked in, or the end of the list. An object may
// have several (ebpf_pinning_table.c).
static pin **pin_at(const char *path)
{
    pin **at = &pins;
    while (*at && strcmp((*at)->path, path))
        at = &(*at)->next;
    return at;
}

static int syscall_map(int command, const uint8_t *attr)
{
    static const char *const names[] = {"create", "lookup", "update", "delete", "next"};
    object *m = file(u32(attr, 0), MAP);
    if (!m)
        return -BAD_FD;
    const uint8_t *key = pointer(attr, 8);
    uint8_t *value = pointer(attr, 16);
    record("map_%s %s key=%s%s%s", names[command], m->name, key ? hex(key, m->key) : "", command == 2 ? " value=" : "",
           command == 2 ? hex(value, m->value) : "");
    if (failing())
        return -NO_MEMORY;
    if (command <= 2 && m->key + value_size(m) > LARGEST_ELEMENT)
        return -RANGE;
    switch (command) {
    case 1:
        return map_lookup(m, key, value);
    case 2:
        return map_update(m, key, value);
    case 3:
        return map_delete(m, key);
    default:
        return map_next(m, key, value);
    }
}

static int syscall_other(int command, const uint8_t *attr, unsigned size)
{
    object *o;
    switch (command) {
    case 0: {
        char name[17] = {0};
        memcpy(name, attr + 28, 16);
        record("map_create %s type=%u key=%u value=%u entries=%u", name, u32(attr, 0), u32(attr, 4), u32(attr, 8), u32(attr, 12));
        if (failing())
            return -NO_MEMORY;
        if (u32(attr, 16) || u32(attr, 24) || strlen(name) > 15)
            return -INVALID; // flags and NUMA node are not supported
        if (u32(attr, 0) == ARRAY_OF_MAPS && !file(u32(attr, 20), MAP))
            return -BAD_FD;
        return open_file(new_map(name, u32(attr, 0), u32(attr, 4), u32(attr, 8), u32(attr, 12)));
    }
    case 5:
        return load(attr, size);
    case 6:
        o = file(u32(attr, 8), 0);
        record("pin %s %s", o ? kinds[o->kind] : "?", (char *)pointer(attr, 0));
        if (failing())
            return -NO_MEMORY;
        if (!o || *pin_at(pointer(attr, 0)))
            return o ? -EXISTS : -BAD_FD;
        pin *made = calloc(1, sizeof *made);
        snprintf(made->path, sizeof made->path, "%s", (char *)pointer(attr, 0));
        made->of = o;
        o->references++;
        *pin_at(made->path) = made;
        return 0;
    case 7:
        record("get %s", (char *)pointer(attr, 0));
        if (failing())
            return -NO_MEMORY;
        return *pin_at(pointer(attr, 0)) ? open_file((*pin_at(pointer(attr, 0)))->of) : -NOT_FOUND;
    case 14:
        record("map_by_id");
        if (failing())
            return -NO_MEMORY;
        o = by_id(u32(attr, 0));
        return o ? open_file(o) : -NOT_FOUND;
    case 15:
        return get_info(attr);
    default:
        record("bpf(%d) is not supported", command);
        SetLastError(ERROR_CALL_NOT_IMPLEMENTED);
        return -INVALID;
    }
}

EXPORT int bpf(int command, const uint8_t *attr, unsigned size)
{
    EnterCriticalSection(&lock);
    int r = command >= 1 && command <= 4 ? syscall_map(command, attr) : syscall_other(command, attr, size);
    LeaveCriticalSection(&lock);
    return r;
}

// What cilium/ebpf calls beside bpf.

static const struct {
    uint32_t number;
    GUID guid;
} attach_types[] = {
    {3, {0xa82e37b1, 0xaee7, 0x11ec, {0x9a, 0x30, 0x18, 0x60, 0x24, 0x89, 0xbe, 0xee}}},
    {4, {0xa82e37b2, 0xaee7, 0x11ec, {0x9a, 0x30, 0x18, 0x60, 0x24, 0x89, 0xbe, 0xee}}},
    {5, {0xa82e37b3, 0xaee7, 0x11ec, {0x9a, 0x30, 0x18, 0x60, 0x24, 0x89, 0xbe, 0xee}}},
    {6, {0xa82e37b4, 0xaee7, 0x11ec, {0x9a, 0x30, 0x18, 0x60, 0x24, 0x89, 0xbe, 0xee}}},
    {12, {0x6076c13a, 0xf04f, 0x4ff8, {0x83, 0x80, 0x90, 0x85, 0x53, 0xf2, 0x22, 0x76}}},
    {13, {0x54b0b6ed, 0x432a, 0x4674, {0x8b, 0x27, 0x8d, 0x9f, 0x5b, 0x40, 0xc6, 0x75}}},
};

static const char *guid_text(const GUID *g)
{
    static char text[40];
    const uint8_t *d = g->Data4;
    sprintf(text, "%08lx-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", g->Data1, g->Data2, g->Data3, d[0], d[1], d[2], d[3],
            d[4], d[5], d[6], d[7]);
    return text;
}

EXPORT uint32_t ebpf_get_bpf_attach_type(const GUID *guid)
{
    EnterCriticalSection(&lock);
    uint32_t number = 0;
    record("attach_type %s", guid_text(guid));
    for (size_t i = 0; i < sizeof attach_types / sizeof *attach_types; i++)
        if (!memcmp(&attach_types[i].guid, guid, sizeof *guid) && !(old_version && attach_types[i].number > 6))
            number = attach_types[i].number;
    if (failing())
        number = 0;
    LeaveCriticalSection(&lock);
    return number;
}

EXPORT result_t ebpf_get_ebpf_attach_type(uint32_t number, GUID *guid)
{
    EnterCriticalSection(&lock);
    result_t r = EBPF_INVALID_ARGUMENT;
    record("attach_guid %u", number);
    for (size_t i = 0; i < sizeof attach_types / sizeof *attach_types; i++)
        if (attach_types[i].number == number) {
            *guid = attach_types[i].guid;
            r = EBPF_SUCCESS;
        }
    if (failing())
        r = EBPF_NO_MEMORY;
    LeaveCriticalSection(&lock);
    return r;
}

// is_recv_accept says whether an attach type suffers one program only.
static int is_recv_accept(const GUID *guid)
{
    for (size_t i = 0; i < sizeof attach_types / sizeof *attach_types; i++)
        if (!memcmp(&attach_types[i].guid, guid, sizeof *guid))
            return attach_types[i].number == 5 || attach_types[i].number == 6;
    return 0;
}

static int linked(const GUID *guid)
{
    for (object *o = objects; o; o = o->next)
        if (o->kind == LINK && !strcmp(o->name, guid_text(guid)))
            return 1;
    return 0;
}

EXPORT result_t ebpf_program_attach_by_fds(fd_t fd, const GUID *guid, void *parameters, size_t size, fd_t *link)
{
    EnterCriticalSection(&lock);
    result_t r = EBPF_SUCCESS;
    object *p = file(fd, PROGRAM);
    record("attach instructions=%u %s", p ? p->instructions : 0, guid_text(guid));
    if (failing()) {
        r = EBPF_NO_MEMORY;
    } else if (!p || size) {
        r = EBPF_INVALID_FD;
    } else if (is_recv_accept(guid) && linked(guid)) {
        r = EBPF_EXTENSION_FAILED_TO_LOAD;
    } else {
        object *l = new_object(LINK, guid_text(guid));
        l->holds = p;
        p->references++;
        *link = open_file(l);
    }
    LeaveCriticalSection(&lock);
    return r;
}

EXPORT result_t ebpf_close_fd(fd_t fd)
{
    EnterCriticalSection(&lock);
    object *o = file(fd, 0);
    record("close %s %s", o ? kinds[o->kind] : "of what is not open", o ? o->name : "");
    if (o) {
        files[fd] = NULL;
        release(o);
    }
    LeaveCriticalSection(&lock);
    return o ? EBPF_SUCCESS : EBPF_INVALID_FD;
}

EXPORT result_t ebpf_duplicate_fd(fd_t fd, fd_t *copy)
{
    EnterCriticalSection(&lock);
    object *o = file(fd, 0);
    result_t r = EBPF_INVALID_FD;
    record("duplicate %s", o ? o->name : "?");
    if (failing()) {
        r = EBPF_NO_MEMORY;
    } else if (o) {
        *copy = open_file(o);
        r = EBPF_SUCCESS;
    }
    LeaveCriticalSection(&lock);
    return r;
}

EXPORT result_t ebpf_object_get_info_by_fd(fd_t fd, uint8_t *info, uint32_t *size, uint32_t *type)
{
    EnterCriticalSection(&lock);
    object *o = file(fd, 0);
    result_t r = EBPF_INVALID_FD;
    record("object_info %s", o ? o->name : "?");
    if (failing()) {
        r = EBPF_NO_MEMORY;
    } else if (o) {
        if (type)
            *type = o->kind;
        if (info)
            memcpy(info + (o->kind == MAP ? 20 : 24), o->name, 64); // bpf_map_info, bpf_prog_info
        r = EBPF_SUCCESS;
    }
    LeaveCriticalSection(&lock);
    return r;
}

EXPORT result_t ebpf_object_unpin(const char *path)
{
    EnterCriticalSection(&lock);
    pin **at = pin_at(path), *found = *at;
    result_t r = EBPF_KEY_NOT_FOUND;
    record("unpin %s", path);
    if (failing()) {
        r = EBPF_NO_MEMORY;
    } else if (found) {
        *at = found->next;
        release(found->of);
        free(found);
        r = EBPF_SUCCESS;
    }
    LeaveCriticalSection(&lock);
    return r;
}

// ebpf_object_load_native_by_fds takes for a driver a text of lines
// "map NAME TYPE KEY VALUE ENTRIES" and "program NAME". Windows has a driver's file loaded
// once at a time, as long as something of it is there (docs/MultipleLoadNativeModule.md).
EXPORT result_t ebpf_object_load_native_by_fds(const char *path, size_t *map_count, fd_t *maps, size_t *program_count, fd_t *programs)
{
    EnterCriticalSection(&lock);
    size_t m = 0, p = 0;
    result_t r = EBPF_SUCCESS;
    const char *base = strrchr(path, '\\');
    record("load_native %s", base ? base + 1 : path);
    FILE *f = NULL;
    for (object *o = objects; o; o = o->next)
        if (!strcmp(o->driver, path))
            r = EBPF_FAILED;
    if (failing())
        r = EBPF_NO_MEMORY;
    else if (!r && !(f = fopen(path, "r")))
        r = EBPF_FILE_NOT_FOUND;
    char line[256], name[64];
    unsigned type, key, value, entries;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "map %63s %u %u %u %u", name, &type, &key, &value, &entries) == 5 && m < *map_count) {
            object *o = new_map(name, type, key, value, entries);
            snprintf(o->driver, sizeof o->driver, "%s", path);
            maps[m++] = open_file(o);
        } else if (sscanf(line, "program %63s", name) == 1 && p < *program_count) {
            object *o = new_object(PROGRAM, name);
            o->type = CGROUP_SOCK_ADDR;
            snprintf(o->driver, sizeof o->driver, "%s", path);
            programs[p++] = open_file(o);
        }
    }
    if (f)
        fclose(f);
    *map_count = m, *program_count = p;
    LeaveCriticalSection(&lock);
    return r;
}

EXPORT result_t ebpf_ring_buffer_map_map_buffer(fd_t fd, void **consumer, const void **producer, const uint8_t **data, size_t *size)
{
    EnterCriticalSection(&lock);
    object *m = file(fd, MAP);
    result_t r = EBPF_INVALID_FD;
    record("ring_map");
    if (failing()) {
        r = EBPF_NO_MEMORY;
    } else if (m && m->data) {
        *consumer = m->consumer, *producer = m->producer, *data = m->data, *size = m->entries;
        r = EBPF_SUCCESS;
    }
    LeaveCriticalSection(&lock);
    return r;
}

EXPORT result_t ebpf_ring_buffer_map_unmap_buffer(fd_t fd, void *consumer, const void *producer, const void *data)
{
    EnterCriticalSection(&lock);
    record("ring_unmap");
    LeaveCriticalSection(&lock);
    return EBPF_SUCCESS;
}

EXPORT result_t ebpf_map_set_wait_handle(fd_t fd, uint64_t index, HANDLE handle)
{
    EnterCriticalSection(&lock);
    object *m = file(fd, MAP);
    result_t r = EBPF_INVALID_FD;
    record("wait_handle");
    if (failing()) {
        r = EBPF_NO_MEMORY;
    } else if (m) {
        m->wake = handle;
        r = EBPF_SUCCESS;
    }
    LeaveCriticalSection(&lock);
    return r;
}

// What tests call.

EXPORT void fake_reset(int fail, int old)
{
    EnterCriticalSection(&lock);
    calls_length = 0, calls[0] = 0, count = 0;
    fail_at = fail, old_version = old, no_loads = 0, killed = 0, refusal = 0;
    LeaveCriticalSection(&lock);
}

// fake_refuse makes loads of instructions fail with an errno and what the verifier says.
EXPORT void fake_refuse(int errno_value, const char *log)
{
    refusal = errno_value;
    snprintf(refusal_log, sizeof refusal_log, "%s", log);
}

// fake_kill makes the call of a number from now on, and all after it, fail: to the objects
// that is the end of the process, as it then closes what it has open.
EXPORT void fake_kill(int at)
{
    fake_reset(at, 0);
    killed = 1;
}

// fake_linked counts the links at an attach type.
EXPORT int fake_linked(uint32_t number)
{
    EnterCriticalSection(&lock);
    int n = 0;
    for (size_t i = 0; i < sizeof attach_types / sizeof *attach_types; i++)
        for (object *o = objects; o && attach_types[i].number == number; o = o->next)
            n += o->kind == LINK && !strcmp(o->name, guid_text(&attach_types[i].guid));
    LeaveCriticalSection(&lock);
    return n;
}

EXPORT const char *fake_calls(void) { return calls; }
EXPORT int fake_count(void) { return count; }

// fake_objects counts the objects of a kind, and the files if the kind is 0.
EXPORT int fake_objects(int kind)
{
    EnterCriticalSection(&lock);
    int n = 0;
    for (int fd = 0; fd < 1024 && !kind; fd++)
        n += files[fd] != NULL;
    for (object *o = objects; o && kind; o = o->next)
        n += o->kind == kind;
    LeaveCriticalSection(&lock);
    return n;
}

// fake_event writes a record of a multiple of 8 bytes to the newest ring buffer.
EXPORT void fake_event(const uint8_t *record, uint32_t length)
{
    EnterCriticalSection(&lock);
    object *m = objects;
    while (m && !m->data)
        m = m->next;
    volatile uint64_t *producer = (uint64_t *)m->producer;
    uint8_t whole[1024] = {0};
    put32(whole, 0, length);
    memcpy(whole + 8, record, length);
    for (uint32_t i = 0; i < length + 8; i++) {
        uint64_t at = (*producer + i) % m->entries;
        m->data[at] = m->data[at + m->entries] = whole[i];
    }
    *producer += length + 8;
    SetEvent(m->wake);
    LeaveCriticalSection(&lock);
}
