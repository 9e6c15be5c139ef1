// The redirect layer sends port 80 to a proxy and tells it of the destination; the
// authorization layer lets only the proxy pass.
#include "sock_addr.h"

SEC("cgroup/connect4") int to_proxy(struct sock_addr *ctx)
{
    struct {
        uint32_t ip;
        uint16_t port, zero;
    } original = {ctx->user_ip4, ctx->user_port, 0};
    if (ctx->user_port != htons(80))
        return PROCEED_SOFT;
    if (set_redirect_context(ctx, &original, sizeof(original)) < 0)
        return REJECT;
    ctx->user_ip4 = htonl(0x7f000001);
    ctx->user_port = htons(8080);
    return PROCEED_HARD;
}

SEC("cgroup/connect_authorization4") int authorize(struct sock_addr *ctx)
{
    if (ctx->user_port == htons(80))
        return PROCEED_SOFT; // the original destination, before it is redirected
    return ctx->user_ip4 == htonl(0x7f000001) && ctx->user_port == htons(8080) ? PROCEED_HARD : REJECT;
}
