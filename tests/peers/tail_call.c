// A program array chooses the program by protocol; what falls through is refused.
#include "sock_addr.h"

int tcp(struct sock_addr *ctx);
int udp(struct sock_addr *ctx);

struct {
    __uint(type, PROG_ARRAY);
    __uint(key_size, sizeof(uint32_t));
    __uint(max_entries, 32);
    __array(values, int(struct sock_addr *));
} by_protocol SEC(".maps") = {
    .values = {[TCP] = &tcp, [UDP] = &udp},
};

SEC("cgroup/connect_authorization4") int entry(struct sock_addr *ctx)
{
    tail_call(ctx, &by_protocol, ctx->protocol);
    return REJECT;
}

SEC("cgroup/connect_authorization4/tcp") int tcp(struct sock_addr *ctx)
{
    return ctx->user_port == htons(443) ? PROCEED_HARD : PROCEED_SOFT;
}

SEC("cgroup/connect_authorization4/udp") int udp(struct sock_addr *ctx)
{
    tail_call(ctx, &by_protocol, 40); // no such element: goes on here
    return ctx->user_port == htons(53) ? PROCEED_SOFT : REJECT;
}
