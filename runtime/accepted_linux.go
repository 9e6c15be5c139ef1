package runtime

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

func seedAccepted(cache *btf.Cache, sockets *ebpf.Map) error { return nil }
