// What C programs for the hook of eBPF for Windows need, written from the
// documented layouts (codegen/layout.go has them for Go).
#pragma once

typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;

#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))

// BTF-defined maps: a number is the length of an array type, a type is that of a
// pointer.
#define __uint(name, number) int (*name)[number]
#define __type(name, type) type *name
#define __array(name, type) typeof(type) *name[]

enum map_type {
    HASH = 1,
    ARRAY = 2,
    PROG_ARRAY = 3,
    PERCPU_HASH = 4,
    PERCPU_ARRAY = 5,
    HASH_OF_MAPS = 6,
    ARRAY_OF_MAPS = 7,
    LRU_HASH = 8,
    LPM_TRIE = 9,
    QUEUE = 10,
    STACK = 12,
    RINGBUF = 13,
};

// The record of a legacy maps section.
struct map_record {
    uint32_t type, key_size, value_size, max_entries;
    uint32_t inner_index, pinning, id, inner_id;
};

enum verdict { REJECT = 0, PROCEED_SOFT = 1, PROCEED_HARD = 2 };

enum { AF_INET = 2, AF_INET6 = 23, TCP = 6, UDP = 17 };

// Addresses and ports are in network byte order.
struct sock_addr {
    uint32_t family;
    union {
        uint32_t msg_src_ip4;
        uint32_t msg_src_ip6[4];
    };
    uint16_t msg_src_port;
    union {
        uint32_t user_ip4;
        uint32_t user_ip6[4];
    };
    uint16_t user_port;
    uint32_t protocol;
    uint32_t compartment_id;
    uint64_t interface_luid;
};
_Static_assert(sizeof(struct sock_addr) == 64, "bpf_sock_addr_t");

struct network_context {
    uint32_t version;
    uint32_t interface_type;
    uint32_t tunnel_type;
    uint64_t next_hop_interface_luid;
    uint32_t sub_interface_index;
};
_Static_assert(sizeof(struct network_context) == 32, "bpf_sock_addr_network_context_t");

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, uint64_t flags) = (void *)2;
static long (*map_delete)(void *map, const void *key) = (void *)3;
static void *(*map_lookup_and_delete)(void *map, const void *key) = (void *)4;
static long (*tail_call)(void *ctx, void *prog_array, uint32_t index) = (void *)5;
static uint32_t (*get_prandom_u32)(void) = (void *)6;
static uint64_t (*ktime_get_boot_ns)(void) = (void *)7;
static uint32_t (*get_smp_processor_id)(void) = (void *)8;
static uint64_t (*ktime_get_ns)(void) = (void *)9;
static int (*csum_diff)(const void *from, int from_size, const void *to, int to_size, int seed) = (void *)10;
static long (*ringbuf_output)(void *ringbuf, void *data, uint64_t size, uint64_t flags) = (void *)11;
static long (*trace_printk2)(const char *format, uint32_t size) = (void *)12;
static long (*trace_printk3)(const char *format, uint32_t size, uint64_t) = (void *)13;
static long (*trace_printk4)(const char *format, uint32_t size, uint64_t, uint64_t) = (void *)14;
static long (*trace_printk5)(const char *format, uint32_t size, uint64_t, uint64_t, uint64_t) = (void *)15;
static long (*map_push)(void *map, const void *value, uint64_t flags) = (void *)16;
static long (*map_pop)(void *map, void *value) = (void *)17;
static long (*map_peek)(void *map, void *value) = (void *)18;
static uint64_t (*get_current_pid_tgid)(void) = (void *)19;
static uint64_t (*get_current_logon_id)(void *ctx) = (void *)20;
static int (*is_current_admin)(void *ctx) = (void *)21;
static long (*memcpy_s)(void *to, uint64_t room, const void *from, uint64_t size) = (void *)22;
static int (*memcmp_s)(const void *a, uint64_t size_a, const void *b, uint64_t size_b) = (void *)23;
static void *(*set_memory)(void *at, uint64_t size, int value) = (void *)24;
static long (*memmove_s)(void *to, uint64_t room, const void *from, uint64_t size) = (void *)25;
static uint64_t (*get_socket_cookie)(void *ctx) = (void *)26;
static int (*strncpy_s)(char *to, uint64_t room, const char *from, uint64_t size) = (void *)27;
static int (*strncat_s)(char *to, uint64_t room, const char *from, uint64_t size) = (void *)28;
static uint64_t (*strnlen_s)(const char *, uint64_t size) = (void *)29;
static uint64_t (*ktime_get_boot_ms)(void) = (void *)30;
static uint64_t (*ktime_get_ms)(void) = (void *)31;
static uint64_t (*get_current_process_start_key)(void) = (void *)33;
static long long (*get_current_thread_create_time)(void) = (void *)34;
static int (*set_redirect_context)(void *ctx, void *data, uint32_t size) = (void *)(0xFFFF + 2);
static int (*get_network_context)(void *ctx, void *buffer, uint32_t size) = (void *)(0xFFFF + 3);

#define htons(x) ((uint16_t)((((x) & 0xff) << 8) | (((x) >> 8) & 0xff)))
#define htonl(x) __builtin_bswap32(x)
