// Verdicts from a table in read-only data, by destination port; static functions,
// per-CPU counters and ring-buffer events, at every authorization layer.
#include "sock_addr.h"

struct {
    __uint(type, PERCPU_ARRAY);
    __type(key, uint32_t);
    __type(value, uint64_t);
    __uint(max_entries, 4);
} counters SEC(".maps");

struct {
    __uint(type, RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

struct event {
    uint32_t verdict;
    uint16_t port;
    uint8_t family, protocol;
};

static const struct {
    uint16_t port;
    uint16_t verdict;
} table[] = {
    {22, PROCEED_SOFT}, {443, PROCEED_HARD}, {445, REJECT}, {3389, 7},
};

static NOINLINE uint32_t verdict_of(uint16_t port)
{
    for (int i = 0; i < 4; i++)
        if (table[i].port == port)
            return table[i].verdict;
    return PROCEED_SOFT;
}

static NOINLINE void count(uint32_t verdict)
{
    uint32_t key = verdict > 2 ? 3 : verdict;
    uint64_t *n = map_lookup(&counters, &key);
    if (n)
        __sync_fetch_and_add(n, 1);
}

static NOINLINE uint32_t decide(struct sock_addr *ctx, uint16_t port)
{
    uint32_t verdict = verdict_of(htons(port));
    count(verdict);
    if (verdict != PROCEED_SOFT) {
        struct event e = {verdict, htons(port), ctx->family, ctx->protocol};
        ringbuf_output(&events, &e, sizeof(e), 0);
    }
    return verdict;
}

SEC("cgroup/connect_authorization4") int connect4(struct sock_addr *ctx) { return decide(ctx, ctx->user_port); }
SEC("cgroup/connect_authorization6") int connect6(struct sock_addr *ctx) { return decide(ctx, ctx->user_port); }
SEC("cgroup/recv_accept4") int accept4(struct sock_addr *ctx) { return decide(ctx, ctx->msg_src_port); }
SEC("cgroup/recv_accept6") int accept6(struct sock_addr *ctx) { return decide(ctx, ctx->msg_src_port); }
