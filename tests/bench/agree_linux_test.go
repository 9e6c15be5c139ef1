package bench

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	hook "github.com/hopgate/hopgate/runtime"
)

// The engines agree with the reference on rule sets of real size: on the corners of
// every rule and on random points. The kernel is asked by sending a packet of each
// flow, which fails where it is denied.
func TestEnginesAgreeAtSize(t *testing.T) {
	for _, set := range []struct {
		name   string
		random int
	}{{"acl1_1000", 100000}, {"fw1_1000", 100000}, {"ipc1_1000", 100000}, {"acl1_10000", 10000}, {"fw1_10000", 10000}} {
		t.Run(set.name, func(t *testing.T) {
			if testing.Short() {
				set.random = 1000
			}
			policy := classBench(t, set.name)
			requests := append(corners(policy), randomRequests(policy, set.random)...)
			want := make([]compiler.Decision, len(requests))
			for i := range requests {
				want[i] = policy.Eval(&requests[i])
			}
			for _, counters := range []bool{true, false} {
				diagram, err := compiler.Compile(policy, &compiler.CompileOptions{MergeRules: !counters})
				require.NoError(t, err)
				for i := range requests {
					got := diagram.Decide(&requests[i])
					require.Equal(t, want[i].Verdict, got.Verdict, "diagram: %+v", requests[i])
					if counters {
						require.Equal(t, want[i], got, "diagram: %+v", requests[i])
					}
				}
				agreeInVM(t, diagram, counters, requests, want)
				agreeInKernel(t, diagram, counters, requests, want)
			}
		})
	}
}

func agreeInVM(t *testing.T, d *compiler.Diagram, counters bool, requests []compiler.Request, want []compiler.Decision) {
	program, err := codegen.Generate(d, &codegen.Options{NoCounters: !counters})
	if err != nil {
		require.Greater(t, len(d.Policy.Rules), 5000, "%v", err) // more than eBPF for Windows takes
		return
	}
	instance, err := hook.Load(program)
	require.NoError(t, err)
	if counters && len(requests) > 20000 {
		requests = requests[:20000] // finding the counter that moved takes as long as there are rules
	}
	for i := range requests {
		got, err := instance.Eval(&requests[i])
		require.NoError(t, err)
		require.Equal(t, want[i].Verdict, got.Verdict, "vm: %+v", requests[i])
		if counters {
			require.Equal(t, want[i], got, "vm: %+v", requests[i])
		}
	}
}

func agreeInKernel(t *testing.T, d *compiler.Diagram, counters bool, requests []compiler.Request, want []compiler.Decision) {
	h := newHost(t)
	program, err := codegen.Generate(d, &codegen.Options{Target: codegen.Linux, NoCounters: !counters})
	require.NoError(t, err)
	var object bytes.Buffer
	require.NoError(t, program.WriteELF(&object))
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object.Bytes()))
	require.NoError(t, err)
	for stage := range spec.Programs {
		if stage != "egress" {
			delete(spec.Programs, stage)
		}
	}
	loaded, err := ebpf.NewCollection(spec)
	require.NoError(t, err)
	defer loaded.Close()
	l, err := link.AttachCgroup(link.CgroupOptions{Path: h.cgroup, Attach: ebpf.AttachCGroupInetEgress, Program: loaded.Programs["egress"]})
	require.NoError(t, err)
	defer l.Close()
	sent := 0
	for i := range requests {
		r := &requests[i]
		if !sendable(r) {
			continue
		}
		err := unix.Sendto(h.socket, packet(r), 0, &unix.SockaddrInet4{Addr: r.Remote.Addr().As4()})
		if err != nil && !errors.Is(err, unix.EPERM) {
			continue // no route for such an address
		}
		sent++
		require.Equal(t, want[i].Verdict == lang.Deny, err != nil, "kernel: %+v", *r)
	}
	require.Greater(t, sent, 300)
}

// sendable reports whether the kernel sends a packet of the flow. Ports stand in the
// packets of some protocols only.
func sendable(r *compiler.Request) bool {
	ports := r.Protocol == unix.IPPROTO_TCP || r.Protocol == unix.IPPROTO_UDP || r.Protocol == unix.IPPROTO_SCTP
	remote, local := r.Remote.Addr(), r.Local.Addr()
	return (ports || r.Remote.Port() == 0 && r.Local.Port() == 0) &&
		!remote.IsMulticast() && !local.IsMulticast() && !remote.IsUnspecified() && !local.IsUnspecified() &&
		remote.As4()[0] < 224 && local.As4()[0] < 224
}

// corners are the requests at the ends of each rule's ranges, with the other fields
// as the rule says.
func corners(p *compiler.Policy) []compiler.Request {
	rng := rand.New(rand.NewPCG(3, 3))
	var list []compiler.Request
	for i := range p.Rules {
		for _, last := range []bool{false, true} {
			r := compiler.NoContext()
			remote, local := netip.AddrFrom4([4]byte{byte(1 + rng.IntN(200)), 2, 3, 4}), netip.AddrFrom4([4]byte{byte(1 + rng.IntN(200)), 6, 7, 8})
			remotePort, localPort := uint16(rng.IntN(65536)), uint16(rng.IntN(65536))
			r.Protocol = [...]uint8{6, 17}[rng.IntN(2)]
			for _, c := range p.Rules[i].Cond.(compiler.All) {
				in := c.(compiler.In)
				v := in.Ranges[0].First
				if last {
					v = in.Ranges[len(in.Ranges)-1].Last
				}
				switch in.Field {
				case compiler.RemoteAddress:
					remote = v.Address()
				case compiler.LocalAddress:
					local = v.Address()
				case compiler.RemotePort:
					remotePort = uint16(v.Lo)
				case compiler.LocalPort:
					localPort = uint16(v.Lo)
				case compiler.Protocol:
					r.Protocol = uint8(v.Lo)
				}
			}
			r.Remote, r.Local = netip.AddrPortFrom(remote, remotePort), netip.AddrPortFrom(local, localPort)
			list = append(list, r)
		}
	}
	return list
}
