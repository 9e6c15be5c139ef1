//go:build linux

package measure

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/gen"
)

// Prefixes describes a set of random prefixes of some lengths.
type Prefixes struct {
	Name        string
	Within      string
	N           int
	Least, Most int
}

// Sets are the sets that are measured.
func Sets() []Prefixes {
	return []Prefixes{
		{"IPv4", "0.0.0.0/0", 1000, 24, 32},
		{"IPv4", "0.0.0.0/0", 100_000, 24, 32},
		{"IPv4", "0.0.0.0/0", 1_000_000, 24, 32},
		{"IPv4, in one /8", "127.0.0.0/8", 1_000_000, 24, 32},
		{"IPv4, hosts in one /16", "10.1.0.0/16", 30_000, 32, 32},
		{"IPv6", "2000::/3", 1000, 32, 64},
		{"IPv6", "2000::/3", 100_000, 32, 64},
		{"IPv6, hosts", "2000::/3", 100_000, 128, 128},
		{"IPv6, in one /32", "2001:db8::/32", 100_000, 48, 64},
	}
}

// SetCost is what a set costs. Nanoseconds are those over an empty program.
type SetCost struct {
	Read    time.Duration // from text to ranges
	Build   time.Duration // from ranges to the policy's program with its table
	Load    time.Duration // into the kernel
	Bytes   uint64        // of the table, by the kernel's account
	Connect float64       // of a policy that denies the set's members, at connect4 or 6
	Trie    float64       // of a program that only looks the kernel's LPM trie up
}

// Set measures a policy that denies the destinations of a dynamic set, without
// counters. Half of the addresses asked for are members.
func Set(p Prefixes) (*SetCost, error) {
	within := netip.MustParsePrefix(p.Within)
	rng := rand.New(rand.NewPCG(uint64(p.N), 3))
	prefixes := gen.Prefixes(rng, within, p.N, p.Least, p.Most)
	to := make([]netip.AddrPort, 100_000)
	for i := range to {
		address := gen.Address(rng, within)
		if i%2 == 0 {
			address = gen.Address(rng, prefixes[rng.IntN(p.N)])
		}
		to[i] = netip.AddrPortFrom(address, 9)
	}
	c := &SetCost{}
	stage := "connect4"
	if within.Addr().Is6() {
		stage = "connect6"
	}
	loaded, err := c.load(prefixes, stage)
	if err != nil {
		return nil, err
	}
	defer loaded.Close()
	if err := agreeOnSet(loaded.Programs[stage], prefixes, to); err != nil {
		return nil, err
	}
	trie, program, err := trie(prefixes)
	if err != nil {
		return nil, err
	}
	defer trie.Close()
	defer program.Close()
	nanos, err := OverEmptyConnect(to, loaded.Programs[stage], program)
	if err != nil {
		return nil, err
	}
	c.Connect, c.Trie = nanos[0], nanos[1]
	return c, nil
}

// load takes the set from its text into the kernel.
func (c *SetCost) load(prefixes []netip.Prefix, stage string) (*ebpf.Collection, error) {
	file, err := lang.Parse("set.hop", []byte("policy set {\n default allow\n set s dynamic = {}\n rule s: deny if remote_address in $s\n}"))
	if err != nil {
		return nil, err
	}
	policy, err := compiler.Check(file, nil)
	if err != nil {
		return nil, err
	}
	set := policy.Sets[0]
	text := make([]string, len(prefixes))
	for i, p := range prefixes {
		text[i] = p.String()
	}
	start := time.Now()
	if set.Ranges, err = compiler.SetRanges(set.Field, text); err != nil {
		return nil, err
	}
	c.Read = time.Since(start)

	start = time.Now()
	diagram, err := compiler.Compile(policy, nil)
	if err != nil {
		return nil, err
	}
	program, err := codegen.Generate(diagram, &codegen.Options{Target: codegen.Linux, NoCounters: true})
	if err != nil {
		return nil, err
	}
	c.Build = time.Since(start)

	spec, err := program.CollectionSpec()
	if err != nil {
		return nil, err
	}
	for name := range spec.Programs {
		if name != stage {
			delete(spec.Programs, name)
		}
	}
	start = time.Now()
	loaded, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, err
	}
	c.Load = time.Since(start)
	info, err := loaded.Maps[codegen.SetMapName(set, stage == "connect6")].Info()
	if err != nil {
		return nil, err
	}
	c.Bytes, _ = info.Memlock()
	return loaded, nil
}

// trie is the kernel's LPM trie with the prefixes, and a program that does nothing
// but look the destination up in it.
func trie(prefixes []netip.Prefix) (*ebpf.Map, *ebpf.Program, error) {
	ipv6 := prefixes[0].Addr().Is6()
	size, from := int16(4), int16(4) // bpf_sock_addr: user_ip4
	if ipv6 {
		size, from = 16, 8
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.LPMTrie, KeySize: uint32(4 + size), ValueSize: 4, MaxEntries: uint32(len(prefixes)), Flags: unix.BPF_F_NO_PREALLOC,
	})
	if err != nil {
		return nil, nil, err
	}
	member := binary.NativeEndian.AppendUint32(nil, 1)
	for _, p := range prefixes {
		key := append(binary.NativeEndian.AppendUint32(nil, uint32(p.Bits())), p.Addr().AsSlice()...)
		if err := m.Put(key, member); err != nil {
			return nil, nil, err
		}
	}
	code := asm.Instructions{asm.StoreImm(asm.R10, -4-size, 8*int64(size), asm.Word)}
	for i := int16(0); i < size; i += 4 {
		code = append(code, asm.LoadMem(asm.R2, asm.R1, from+i, asm.Word), asm.StoreMem(asm.R10, i-size, asm.R2, asm.Word))
	}
	p, err := LoadConnect(ipv6, append(code,
		asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, int32(-4-size)), asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "allow"), asm.Mov.Imm(asm.R0, 0), asm.Return(),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("allow"), asm.Return()))
	return m, p, err
}

// agreeOnSet checks that connecting is denied to members and to nobody else.
func agreeOnSet(p *ebpf.Program, prefixes []netip.Prefix, to []netip.AddrPort) error {
	members := map[netip.Prefix]bool{}
	least, most := 128, 0
	for _, p := range prefixes {
		members[p] = true
		least, most = min(least, p.Bits()), max(most, p.Bits())
	}
	host, err := NewHost()
	if err != nil {
		return err
	}
	defer host.Close()
	denied, err := host.Denied(p, to)
	if err != nil {
		return err
	}
	for i := range to {
		member := false
		for bits := least; bits <= most; bits++ {
			prefix, err := to[i].Addr().Prefix(bits)
			if err != nil {
				return err
			}
			member = member || members[prefix]
		}
		if denied[i] != member {
			return fmt.Errorf("connecting to %s is denied: %t, in the set: %t", to[i], denied[i], member)
		}
	}
	return nil
}
