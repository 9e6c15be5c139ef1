package gen

// The parts of a C program that do not depend on the policy. Structures are those of
// linux/bpf.h up to what is read here, so that no header is needed.

const cTypes = `typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))

struct flow {
	u32 remote4, local4;
	u64 remote_high, remote_low, local_high, local_low;
	u16 remote_port, local_port;
	u8 protocol;
	u32 interface_type;
};

char _license[] SEC("license") = "GPL";

`

const cEgress = `struct __sk_buff {
	u32 unread[10];
	u32 ifindex;
	u32 unread2[8];
	u32 data, data_end;
};

struct {
	int (*type)[2]; /* BPF_MAP_TYPE_ARRAY */
	int (*max_entries)[1024];
	u32 *key;
	u32 *value;
} interface_types SEC(".maps");

static void *(*lookup)(void *map, const void *key) = (void *)1;

static __always_inline int has_ports(u8 protocol)
{
	return protocol == 6 || protocol == 17 || protocol == 33 || protocol == 132 || protocol == 136;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	u8 *data = (u8 *)(u64)skb->data, *end = (u8 *)(u64)skb->data_end, *ports;
	u32 index = skb->ifindex, *type = lookup(&interface_types, &index);
	struct flow f = {};

	f.interface_type = type ? *type : 0;
	if (data + 20 > end)
		return 0;
	if (data[0] == 0x45) {
		f.local4 = __builtin_bswap32(*(u32 *)(data + 12));
		f.remote4 = __builtin_bswap32(*(u32 *)(data + 16));
		f.protocol = data[9];
		ports = data + 20;
	} else if (data[0] >> 4 == 6 && data + 40 <= end) {
		f.local_high = (u64)__builtin_bswap32(*(u32 *)(data + 8)) << 32 | __builtin_bswap32(*(u32 *)(data + 12));
		f.local_low = (u64)__builtin_bswap32(*(u32 *)(data + 16)) << 32 | __builtin_bswap32(*(u32 *)(data + 20));
		f.remote_high = (u64)__builtin_bswap32(*(u32 *)(data + 24)) << 32 | __builtin_bswap32(*(u32 *)(data + 28));
		f.remote_low = (u64)__builtin_bswap32(*(u32 *)(data + 32)) << 32 | __builtin_bswap32(*(u32 *)(data + 36));
		f.protocol = data[6];
		ports = data + 40;
	} else {
		return 0;
	}
	if (has_ports(f.protocol)) {
		if (ports + 4 > end)
			return 0;
		f.local_port = __builtin_bswap16(*(u16 *)ports);
		f.remote_port = __builtin_bswap16(*(u16 *)(ports + 2));
	}
	return data[0] == 0x45 ? decide4(&f) : decide6(&f);
}
`

const cSockAddr = `struct bpf_sock_addr {
	u32 user_family, user_ip4, user_ip6[4], user_port, family, type, protocol;
};

`

const cConnect4 = cSockAddr + `SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct flow f = {};

	f.remote4 = __builtin_bswap32(ctx->user_ip4);
	f.remote_port = __builtin_bswap16(ctx->user_port);
	f.protocol = ctx->protocol;
	return decide4(&f);
}
`

const cConnect6 = cSockAddr + `SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct flow f = {};

	f.remote_high = (u64)__builtin_bswap32(ctx->user_ip6[0]) << 32 | __builtin_bswap32(ctx->user_ip6[1]);
	f.remote_low = (u64)__builtin_bswap32(ctx->user_ip6[2]) << 32 | __builtin_bswap32(ctx->user_ip6[3]);
	f.remote_port = __builtin_bswap16(ctx->user_port);
	f.protocol = ctx->protocol;
	return decide6(&f);
}
`
