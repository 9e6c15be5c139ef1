package bench

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/tests/gen"
)

// connects attaches a connect program, connects a UDP socket, which sends nothing, to
// each address, and gives the mean nanoseconds that the kernel says the program
// took.
func (h *host) connects(b testing.TB, program *ebpf.Program, ipv6 bool, to []netip.Addr) float64 {
	attach, domain := ebpf.AttachCGroupInet4Connect, unix.AF_INET
	if ipv6 {
		attach, domain = ebpf.AttachCGroupInet6Connect, unix.AF_INET6
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: h.cgroup, Attach: attach, Program: program})
	require.NoError(b, err)
	defer l.Close()
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	require.NoError(b, err)
	defer stats.Close()
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM, 0)
	require.NoError(b, err)
	defer unix.Close(fd)
	before, err := program.Stats()
	require.NoError(b, err)
	for _, a := range to {
		if ipv6 {
			_ = unix.Connect(fd, &unix.SockaddrInet6{Port: 9, Addr: a.As16()}) // denied, or unreachable
		} else {
			_ = unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: a.As4()})
		}
	}
	after, err := program.Stats()
	require.NoError(b, err)
	require.NotEqual(b, before.RunCount, after.RunCount)
	return float64((after.Runtime - before.Runtime).Nanoseconds()) / float64(after.RunCount-before.RunCount)
}

func emptyConnect(b testing.TB, ipv6 bool) *ebpf.Program {
	return connectProgram(b, ipv6, asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()})
}

func connectProgram(b testing.TB, ipv6 bool, code asm.Instructions) *ebpf.Program {
	attach := ebpf.AttachCGroupInet4Connect
	if ipv6 {
		attach = ebpf.AttachCGroupInet6Connect
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.CGroupSockAddr, AttachType: attach, License: codegen.License, Instructions: code})
	require.NoError(b, err)
	b.Cleanup(func() { p.Close() })
	return p
}

// trie is the kernel's LPM trie with the prefixes, and a program that does nothing
// but look the destination up in it.
func trie(b testing.TB, ipv6 bool, prefixes []netip.Prefix) *ebpf.Program {
	size, from := int16(4), int16(4) // bpf_sock_addr: user_ip4
	if ipv6 {
		size, from = 16, 8
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.LPMTrie, KeySize: uint32(4 + size), ValueSize: 4, MaxEntries: uint32(len(prefixes)), Flags: unix.BPF_F_NO_PREALLOC,
	})
	require.NoError(b, err)
	b.Cleanup(func() { m.Close() })
	var keys, values []byte
	for _, p := range prefixes {
		keys = append(binary.NativeEndian.AppendUint32(keys, uint32(p.Bits())), p.Addr().AsSlice()...)
		values = binary.NativeEndian.AppendUint32(values, 1)
	}
	step := int(4 + size)
	for i := range prefixes {
		require.NoError(b, m.Put(keys[i*step:][:step], values[4*i:][:4]))
	}
	code := asm.Instructions{asm.StoreImm(asm.R10, -4-size, 8*int64(size), asm.Word)}
	for i := int16(0); i < size; i += 4 {
		code = append(code, asm.LoadMem(asm.R2, asm.R1, from+i, asm.Word), asm.StoreMem(asm.R10, i-size, asm.R2, asm.Word))
	}
	return connectProgram(b, ipv6, append(code,
		asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, int32(-4-size)), asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "allow"), asm.Mov.Imm(asm.R0, 0), asm.Return(),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("allow"), asm.Return()))
}

// BenchmarkSets measures a policy that denies the destinations of a dynamic set, over
// an empty program, beside a program that only looks the destination up in the
// kernel's LPM trie; and how long it takes to build and to load.
func BenchmarkSets(b *testing.B) {
	for _, c := range []struct {
		name        string
		within      string
		n           int
		least, most int
	}{
		{"v4", "0.0.0.0/0", 1000, 24, 32},
		{"v4", "0.0.0.0/0", 100_000, 24, 32},
		{"v4", "0.0.0.0/0", 1_000_000, 24, 32},
		{"v4-in-127", "127.0.0.0/8", 1_000_000, 24, 32},
		{"v4-hosts-in-one-16", "10.1.0.0/16", 30_000, 32, 32},
		{"v6", "2000::/3", 1000, 32, 64},
		{"v6", "2000::/3", 100_000, 32, 64},
		{"v6-hosts", "2000::/3", 100_000, 128, 128},
		{"v6-in-one-32", "2001:db8::/32", 100_000, 48, 64},
	} {
		b.Run(fmt.Sprintf("%s/%d", c.name, c.n), func(b *testing.B) { measureSet(b, netip.MustParsePrefix(c.within), c.n, c.least, c.most) })
	}
}

func measureSet(b *testing.B, within netip.Prefix, n, least, most int) {
	h := newHost(b)
	ipv6 := within.Addr().Is6()
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	prefixes := gen.Prefixes(rng, within, n, least, most)
	to := make([]netip.Addr, 100_000)
	for i := range to {
		to[i] = gen.Address(rng, within)
		if i%2 == 0 { // half of them members
			p := prefixes[rng.IntN(n)]
			to[i] = gen.Address(rng, p)
		}
	}
	file, err := lang.Parse("set.hop", []byte("policy set {\n default allow\n set s dynamic = {}\n rule s: deny if remote_address in $s\n}"))
	require.NoError(b, err)
	policy, err := compiler.Check(file, nil)
	require.NoError(b, err)

	start := time.Now()
	policy.Sets[0].Ranges = gen.Ranges(prefixes)
	diagram, err := compiler.Compile(policy, nil)
	require.NoError(b, err)
	program, err := codegen.Generate(diagram, &codegen.Options{Target: codegen.Linux, NoCounters: true})
	require.NoError(b, err)
	built := time.Since(start)
	spec, err := program.CollectionSpec()
	require.NoError(b, err)
	stage := "connect4"
	if ipv6 {
		stage = "connect6"
	}
	for name := range spec.Programs {
		if name != stage {
			delete(spec.Programs, name)
		}
	}
	start = time.Now()
	loaded, err := ebpf.NewCollection(spec)
	require.NoError(b, err)
	defer loaded.Close()
	loading := time.Since(start)
	bytes := 0
	for _, m := range program.Maps {
		if m.Name == codegen.SetMapName(policy.Sets[0], ipv6) {
			bytes = int(m.MaxEntries * m.ValueSize)
		}
	}

	empty, lpm := emptyConnect(b, ipv6), trie(b, ipv6, prefixes)
	var none, table, longest float64
	for b.Loop() {
		none += h.connects(b, empty, ipv6, to)
		table += h.connects(b, loaded.Programs[stage], ipv6, to)
		longest += h.connects(b, lpm, ipv6, to)
	}
	runs := float64(b.N)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric((table-none)/runs, "ns/decision")
	b.ReportMetric((longest-none)/runs, "ns/LPM")
	b.ReportMetric((longest-none)/(table-none), "LPM/table")
	b.ReportMetric(float64(built.Milliseconds()), "ms/build")
	b.ReportMetric(float64(loading.Milliseconds()), "ms/load")
	b.ReportMetric(float64(bytes)/1e6, "MB")
}
