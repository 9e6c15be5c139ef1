package tests

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/verifier"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/runtime/vm"
)

// peerTests are what C programs in peers/ do when they are attached to the hook in
// process: every object that clang makes of them for any eBPF CPU does the same.
var peerTests = map[string]func(*testing.T, *peer){
	"verdicts":    testVerdicts,
	"network":     testNetwork,
	"tail_call":   testTailCall,
	"globals":     testGlobals,
	"legacy":      testLegacy,
	"helpers":     testHelpers,
	"redirect":    testRedirect,
	"map_of_maps": testMapOfMaps,
}

func TestPeers(t *testing.T) {
	for name, test := range peerTests {
		t.Run(name, func(t *testing.T) {
			for _, cpu := range clangCPUs(t) {
				t.Run(cpu, func(t *testing.T) { test(t, attachPeer(t, readPeer(t, name, cpu))) })
			}
		})
	}
}

// The verifier takes what a careful author writes, as clang makes it, and every
// helper. The other programs return what stands in their maps.
func TestPeersVerified(t *testing.T) {
	for name, functions := range map[string]int{"verified": 4, "helpers": 1, "network": 3, "redirect": 2, "tail_call": 3} {
		for _, cpu := range clangCPUs(t) {
			t.Run(name+"/"+cpu, func(t *testing.T) {
				result, err := verifier.Verify(readPeer(t, name, cpu))
				require.NoError(t, err)
				require.Len(t, result.Functions, functions)
			})
		}
	}
}

// The same numbers of maps and helpers mean other things on Linux.
func TestPeerForLinux(t *testing.T) {
	p := readPeer(t, "linux", "v3")
	require.Equal(t, codegen.Linux, p.Target)
	require.Equal(t, "LPMTrie", p.Describe().Maps[0].Type)
	require.Equal(t, uint32(1), p.Maps[0].Flags)
	var listing strings.Builder
	require.NoError(t, p.WriteASM(&listing))
	require.Contains(t, listing.String(), "call bpf_map_lookup_elem")
}

// clang finds the newest clang.
func clang(t *testing.T) string {
	for _, name := range []string{"clang-22", "clang-19", "clang"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("clang is missing in CI")
	}
	t.Skip("clang is not installed")
	return ""
}

// clangCPUs lists the eBPF CPUs that clang makes code for.
func clangCPUs(t *testing.T) []string {
	out, err := exec.Command(clang(t), "-target", "bpf", "-print-supported-cpus").CombinedOutput()
	require.NoError(t, err)
	var cpus []string
	for _, cpu := range []string{"v1", "v2", "v3", "v4"} {
		if strings.Contains(string(out), "\t"+cpu+"\n") {
			cpus = append(cpus, cpu)
		}
	}
	require.NotEmpty(t, cpus, string(out))
	return cpus
}

func readPeer(t *testing.T, name, cpu string) *codegen.Program {
	object := filepath.Join(t.TempDir(), name+".o")
	out, err := exec.Command(clang(t), "-target", "bpf", "-mcpu="+cpu, "-O2", "-g", "-Wall", "-Wno-unused", "-Werror",
		"-c", filepath.Join("peers", name+".c"), "-o", object).CombinedOutput()
	require.NoError(t, err, string(out))
	data, err := os.ReadFile(object)
	require.NoError(t, err)
	p, err := codegen.ReadObject(object, data)
	require.NoError(t, err)
	return p
}

// peer is a program that is attached to a hook of its own.
type peer struct {
	t    *testing.T
	hook *runtime.Hook
	link *runtime.Link
}

func attachPeer(t *testing.T, p *codegen.Program) *peer {
	h := runtime.NewHook(&runtime.HookOptions{Process: runtime.Process{PID: 7, TID: 8, LogonID: 9, Admin: true, StartKey: 10, ThreadCreated: 11}})
	link, err := h.Attach(p, nil)
	require.NoError(t, err)
	return &peer{t, h, link}
}

// request is a connection to `10.0.0.1:443/tcp`.
func request(remote string) compiler.Request {
	end, protocol, _ := strings.Cut(remote, "/")
	r := compiler.NoContext()
	r.Remote = netip.MustParseAddrPort(end)
	r.Protocol = map[string]uint8{"tcp": 6, "udp": 17, "gre": 47}[protocol]
	return r
}

// connect and accept give the verdict, and what each program returned.
func (p *peer) connect(r compiler.Request) string {
	_, result := p.hook.Connect(&r)
	return tell(result)
}

func (p *peer) accept(r compiler.Request) string {
	_, result := p.hook.Accept(&r)
	return tell(result)
}

func tell(result *runtime.Result) string {
	said := result.Verdict.String()
	for i := range result.Calls {
		c := &result.Calls[i]
		if c.Err != nil {
			return c.Err.Error()
		}
		said += fmt.Sprintf(", %s %d", c.Function, c.Returned)
	}
	return said
}

func (p *peer) bytes(name string, key ...byte) []byte {
	value, err := p.link.Instance().Map(name).Lookup(key)
	require.NoError(p.t, err)
	return value
}

func (p *peer) put(name string, key, value []byte) {
	require.NoError(p.t, p.link.Instance().Map(name).Update(key, value, vm.Any))
}

func u32(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }

func testVerdicts(t *testing.T, p *peer) {
	for remote, want := range map[string]string{
		"10.0.0.1:22/tcp":       "allow, connect4 1",
		"10.0.0.1:443/tcp":      "allow-hard, connect4 2",
		"10.0.0.1:445/tcp":      "deny, connect4 0",
		"10.0.0.1:3389/tcp":     "deny, connect4 7", // no verdict
		"10.0.0.1:80/tcp":       "allow, connect4 1",
		"[2001:db8::1]:445/udp": "deny, connect6 0",
	} {
		require.Equal(t, want, p.connect(request(remote)), remote)
	}
	require.Equal(t, "deny, accept4 0", p.accept(request("10.0.0.1:445/tcp")))
	require.Equal(t, "allow-hard, accept6 2", p.accept(request("[2001:db8::1]:443/tcp")))
	for verdict, want := range []uint64{3, 2, 2, 1} {
		n, err := p.link.Instance().Map("counters").Sum(u32(uint32(verdict)))
		require.NoError(t, err)
		require.Equal(t, want, n, "counter %d", verdict)
	}
	events := map[string]int{}
	for _, e := range p.link.Instance().Map("events").Drain() {
		events[fmt.Sprintf("%d of port %d, family %d, protocol %d", binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint16(e[4:]), e[6], e[7])]++
	}
	require.Equal(t, map[string]int{
		"2 of port 443, family 2, protocol 6":   1,
		"0 of port 445, family 2, protocol 6":   2,
		"7 of port 3389, family 2, protocol 6":  1,
		"0 of port 445, family 23, protocol 17": 1,
		"2 of port 443, family 23, protocol 6":  1,
	}, events)
}

func testNetwork(t *testing.T, p *peer) {
	on := func(remote string, ifType, tunnel, subInterface uint32, nextHop uint64) compiler.Request {
		r := request(remote)
		runtime.Network{InterfaceType: ifType, TunnelType: tunnel, NextHop: nextHop, SubInterface: subInterface}.Apply(&r)
		return r
	}
	const ethernet = 0x0006008005000000
	require.Equal(t, "allow-hard, redirect 1, whole 2", p.connect(on("10.0.0.1:1/tcp", 24, 0, 0, 0)))
	require.Equal(t, "deny, redirect 1, whole 0", p.connect(on("10.0.0.1:1/tcp", 71, 0, 3, ethernet)))
	require.Equal(t, "allow, redirect 1, whole 1", p.connect(on("10.0.0.1:1/tcp", 71, 1, 3, ethernet)))
	require.Equal(t, "allow, redirect 1, whole 1", p.connect(on("10.0.0.1:1/tcp", 6, 0, 3, ethernet)))
	require.Equal(t, "deny, redirect 1, whole 0", p.connect(on("10.0.0.1:1/tcp", 6, 0, 4, ethernet)))
	require.Equal(t, "deny, redirect 1, whole 0", p.connect(on("10.0.0.1:1/tcp", 6, 0, 3, ethernet+1)))
	require.Equal(t, "allow-hard, prefix 2", p.connect(on("[2001:db8::1]:1/tcp", 24, 0, 0, 0)))
	require.Equal(t, "allow, prefix 1", p.connect(on("[2001:db8::1]:1/tcp", 6, 0, 0, 0)))
}

func testTailCall(t *testing.T, p *peer) {
	require.Equal(t, "allow-hard, entry 2", p.connect(request("10.0.0.1:443/tcp")))
	require.Equal(t, "allow, entry 1", p.connect(request("10.0.0.1:80/tcp")))
	require.Equal(t, "allow, entry 1", p.connect(request("10.0.0.1:53/udp")))
	require.Equal(t, "deny, entry 0", p.connect(request("10.0.0.1:54/udp")))
	require.Equal(t, "deny, entry 0", p.connect(request("10.0.0.1:443/gre")))
}

func testGlobals(t *testing.T, p *peer) {
	require.Equal(t, "allow-hard, globals 2", p.connect(request("10.0.0.1:1/tcp")))
	for compartment, want := range []string{"allow-hard, globals 2", "allow, globals 1", "deny, globals 0", "deny, globals 7", "allow-hard, globals 2", "deny, globals 0"} {
		r := request("10.0.0.1:1/tcp")
		r.Compartment = uint32(compartment)
		require.Equal(t, want, p.connect(r))
	}
	require.Equal(t, "deny, globals 0", p.connect(request("10.0.0.1:1/gre")))
	require.Equal(t, "allow, globals 1", p.connect(request("10.0.0.1:139/tcp")))
	require.Equal(t, "allow-hard, globals 2", p.connect(request("10.0.0.1:139/tcp")), "no longer in the list")
	require.Equal(t, "allow, globals 1", p.connect(request("10.0.0.1:445/tcp")))
	require.Equal(t, "deny, globals 0", p.connect(request("10.0.0.1:3389/tcp")), "over the limit")

	require.Equal(t, []uint64{12, 3}, []uint64{binary.LittleEndian.Uint64(p.bytes(".bss", u32(0)...)), binary.LittleEndian.Uint64(p.bytes(".bss", u32(0)...)[8:])})
	require.Equal(t, append(append(u32(0), u32(0)...), u32(3389)...), p.bytes(".data", u32(0)...)[:12])
}

func testLegacy(t *testing.T, p *peer) {
	key := []byte{32, 0, 0, 0, 10, 0, 0, 1}
	remote := request("10.0.0.1:443/tcp")
	require.Equal(t, "deny, legacy 0", p.connect(remote), "no inner map")

	m, err := vm.NewMap(p.link.Instance().Map("tables").Spec().InnerMap)
	require.NoError(t, err)
	require.NoError(t, m.Update(u32(0), u32(1), vm.Any))
	require.NoError(t, p.link.Instance().Map("tables").SetMap(u32(0), m))
	require.Equal(t, "allow, legacy 1", p.connect(remote), "by the inner map")

	p.put("networks", []byte{8, 0, 0, 0, 10, 0, 0, 0}, u32(2))
	require.Equal(t, "allow-hard, legacy 2", p.connect(remote), "by prefix")
	p.put("networks", key, u32(0))
	require.Equal(t, "deny, legacy 0", p.connect(remote), "by the longer prefix")
	p.put("ports", []byte{443 >> 8, 443 & 0xff}, u32(1))
	require.Equal(t, "allow, legacy 1", p.connect(remote), "by port")
	require.Equal(t, "deny, legacy 0", p.connect(remote), "which counts once")
	require.Equal(t, uint64(6), binary.LittleEndian.Uint64(p.bytes("seen", 10, 0, 0, 1)))
}

func testHelpers(t *testing.T, p *peer) {
	require.Equal(t, "allow, helpers 1", p.connect(request("10.0.0.1:1/tcp")))
	for helper, want := range map[uint32]int64{
		3: 0, 103: int64(-vm.ENOENT), 4: 7, 6: 0, 7: 1, 8: 0, 9: 1,
		10: 5 + 'a' + 'b'<<8 + 'c',
		12: 3, 13: 1, 14: 3, 15: 5, // characters printed
		16: 0, 116: int64(-vm.E2BIG), 17: 1, 117: 2, 18: 2,
		19: 7<<32 | 8, 20: 9, 21: 1, 26: 1, 33: 10, 34: 11, 30: 1, 31: 1,
		22: 0, 122: int64(-vm.EINVAL), 23: 0, 123: 1, 24: 1, 25: 0, 125: 1, 27: 0, 28: 0, 128: int64(-vm.ERANGE), 29: 6,
	} {
		require.Equal(t, want, int64(binary.LittleEndian.Uint64(p.bytes("results", u32(helper)...))), "helper %d", helper)
	}
}

func testRedirect(t *testing.T, p *peer) {
	r := request("192.0.2.1:80/tcp")
	flow, result := p.hook.Connect(&r)
	require.Equal(t, "allow-hard, to_proxy 2, authorize 1, authorize 2", tell(result))
	require.Equal(t, "127.0.0.1:8080", result.Request.Remote.String())
	require.Equal(t, []byte{192, 0, 2, 1, 0, 80, 0, 0}, flow.RedirectContext())
	require.Equal(t, "deny, to_proxy 1, authorize 0", p.connect(request("192.0.2.1:81/tcp")))
}

func testMapOfMaps(t *testing.T, p *peer) {
	remote := request("10.0.0.1:443/tcp")
	require.Equal(t, "deny, nested 0", p.connect(remote))
	p.put("first", u32(6), u32(2))
	require.Equal(t, "allow-hard, nested 2", p.connect(remote))
	remote.Compartment = 6
	require.Equal(t, "deny, nested 7", p.connect(remote), "no inner map there")
}
