// What a careful author writes: hopgate's verifier must take all of it, as clang makes
// it for any eBPF CPU.
#include "sock_addr.h"

struct range {
    uint32_t first, last;
};

struct policy {
    uint32_t count;
    struct range ranges[16];
    uint8_t names[64];
};

struct {
    __uint(type, ARRAY);
    __type(key, uint32_t);
    __type(value, struct policy);
    __uint(max_entries, 2);
} policies SEC(".maps");

struct {
    __uint(type, HASH);
    __type(key, struct range);
    __type(value, uint64_t);
    __uint(max_entries, 64);
} seen SEC(".maps");

// A loop with a bound that is not a constant, over a value of a map.
SEC("cgroup/connect_authorization4") int loop(struct sock_addr *ctx) {
    uint32_t zero = 0;
    struct policy *p = map_lookup(&policies, &zero);
    if (!p)
        return REJECT;
    uint32_t count = p->count;
    if (count > 16)
        count = 16;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t address = __builtin_bswap32(ctx->user_ip4);
        if (p->ranges[i].first <= address && address <= p->ranges[i].last)
            return PROCEED_SOFT;
    }
    return REJECT;
}

// A loop that clang unrolls or turns around, with a sum that picks a byte of the value.
SEC("cgroup/connect_authorization6") int bytes(struct sock_addr *ctx) {
    uint32_t one = 1, sum = 0;
    for (int i = 0; i < 4; i++)
        sum += ctx->user_ip6[i] * 31;
    struct policy *p = map_lookup(&policies, &one);
    if (!p)
        return PROCEED_SOFT;
    if (p->names[sum & 63] > 2)
        return PROCEED_HARD;
    uint8_t name = p->names[(sum >> 8) % 64];
    return name & 1 ? PROCEED_SOFT : REJECT;
}

static NOINLINE uint64_t *find(uint32_t first, uint32_t last) {
    struct range key = {first, last};
    return map_lookup(&seen, &key);
}

// A switch, values that are spilled over a call, and two lookups by one function.
SEC("cgroup/recv_accept4") int branches(struct sock_addr *ctx) {
    uint32_t a = ctx->user_ip4, b = ctx->msg_src_ip4, c = ctx->protocol, d = ctx->compartment_id;
    uint64_t e = ctx->interface_luid, f = ctx->user_port, g = ctx->msg_src_port, total = 0;
    uint64_t *x = find(a, b);
    if (x)
        total += *x;
    uint64_t *y = find(b, a);
    if (y)
        total += *y + 1;
    total += a + b + c + d + e + f + g;
    switch (c) {
    case 1:
        return PROCEED_SOFT;
    case 6:
        return total > 1000 ? PROCEED_SOFT : REJECT;
    case 17:
        return total & 1 ? PROCEED_HARD : REJECT;
    case 47:
        return f == g;
    case 50:
        return REJECT;
    case 58:
        return d < 3 ? d : REJECT;
    }
    return PROCEED_SOFT;
}

// A pointer that is one of two, null checks after the fact, and an array on the stack by
// a masked index.
SEC("cgroup/recv_accept6") int choices(struct sock_addr *ctx) {
    uint32_t zero = 0, one = 1;
    uint32_t parts[8] = {};
    for (int i = 0; i < 8; i++)
        parts[i] = ctx->user_ip6[i & 3] + i;
    struct policy *p = ctx->protocol == TCP ? map_lookup(&policies, &zero) : map_lookup(&policies, &one);
    uint32_t at = parts[ctx->protocol & 7];
    if (!p || at > 15)
        return REJECT;
    return p->ranges[at].first < p->ranges[at].last ? PROCEED_SOFT : REJECT;
}
