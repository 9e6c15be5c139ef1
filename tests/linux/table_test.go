//go:build linux

package linux

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

// deniesDatagram asks the egress stage about a datagram.
func deniesDatagram(t *testing.T, k *runtime.Kernel, d device, to string) bool {
	r := compiler.NoContext()
	r.Protocol, r.Remote, r.Local = 17, netip.MustParseAddrPort(to), netip.MustParseAddrPort("198.51.100.1:1")
	completeRequest(&r, d)
	got, err := k.Function("egress").Run(&ebpf.RunOptions{Data: packet(&r), Context: skBuff{Ifindex: d.index}})
	require.NoError(t, err)
	return got != 1
}

// An engine denies without a table, and by one of another layout or target; early, too.
func TestEngineWithoutTableDenies(t *testing.T) {
	k := attachTable(t, check(t, "policy p { default allow }", nil), runtime.KernelOptions{})
	lo := device{1, 24, 0}
	connect := func() error {
		return unix.Connect(socketOf(t, unix.AF_INET, unix.SOCK_DGRAM, 0), &unix.SockaddrInet4{Port: 7001, Addr: [4]byte{127, 0, 0, 1}})
	}
	require.False(t, deniesDatagram(t, k, lo, "127.0.0.1:7001"))
	require.NoError(t, connect())

	tables := k.Map(codegen.TableMap)
	good := table(t, check(t, "policy p { default allow }", nil)).Parts(&codegen.TableLoading{Generation: 9})
	for at := range 5 { // magic, and the lowest byte of the version
		value := codegen.JoinParts(good)
		value[at]++
		inner, err := ebpf.NewMap(codegen.TableValueMap(codegen.Linux))
		require.NoError(t, err)
		defer inner.Close()
		require.NoError(t, inner.Put(uint32(0), value))
		require.NoError(t, tables.Put(uint32(0), inner))
		require.True(t, deniesDatagram(t, k, lo, "127.0.0.1:7001"))
		require.ErrorIs(t, connect(), unix.EPERM)
	}
	require.NoError(t, tables.Delete(uint32(0)))
	require.True(t, deniesDatagram(t, k, lo, "127.0.0.1:7001"))
	require.ErrorIs(t, connect(), unix.EPERM)
}

// A table takes the place of another by one update: what was remembered of decisions is
// forgotten, counters go on, and a table that is none for Linux changes nothing.
func TestLoadTable(t *testing.T) {
	lo := device{1, 24, 0}
	text := func(name, verdict string) *compiler.Policy {
		return check(t, fmt.Sprintf("policy %s { default allow\n rule dns: %s if remote_port == 53\n}", name, verdict), nil)
	}
	k := attachTable(t, text("one", "deny"), runtime.KernelOptions{})
	program, err := k.Function("egress").Info()
	require.NoError(t, err)
	require.True(t, deniesDatagram(t, k, lo, "192.0.2.1:53"))
	require.NoError(t, k.LoadTable(table(t, text("two", "allow"))))
	require.False(t, deniesDatagram(t, k, lo, "192.0.2.1:53"))
	s, err := k.Status()
	require.NoError(t, err)
	require.Equal(t, "two", s.Policy)
	require.Equal(t, 2, s.Generation)
	require.EqualValues(t, 2, s.Rules[0].Decisions)
	again, err := k.Function("egress").Info()
	require.NoError(t, err)
	require.Equal(t, program, again, "the engine is the same")

	d, err := compiler.Compile(text("three", "deny"), nil)
	require.NoError(t, err)
	windows, err := codegen.GenerateTable(d, nil, codegen.Build{})
	require.NoError(t, err)
	require.ErrorContains(t, k.LoadTable(windows), "the policy's table is for target windows, the engine for linux")
	require.False(t, deniesDatagram(t, k, lo, "192.0.2.1:53"))

	// From form to form, without a moment in which nothing judges.
	require.NoError(t, k.Update(compile(t, text("three", "deny"), codegen.Options{})))
	require.True(t, deniesDatagram(t, k, lo, "192.0.2.1:53"))
	require.NoError(t, k.LoadTable(table(t, text("four", "deny"))))
	require.True(t, deniesDatagram(t, k, lo, "192.0.2.1:53"))
	require.EqualValues(t, 4, counts(t, k)["dns"])
}

// Two policies that deny the same connection by different rules take turns.
func TestTablesLeaveNoGap(t *testing.T) {
	switches := 200
	if testing.Short() {
		switches = 30
	}
	var tables [2]*codegen.Table
	for i := range tables {
		tables[i] = table(t, check(t, fmt.Sprintf("policy p%d { default allow\n rule r%d: deny if remote_port == 7001 and interface_type == loopback }", i, i), nil))
	}
	k := attachTable(t, check(t, "policy p { default allow\n rule r: deny if remote_port == 7001 }", nil), runtime.KernelOptions{})
	var sent, gaps atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				continue
			}
			if unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: 7001, Addr: [4]byte{127, 0, 0, 1}}) == nil {
				gaps.Add(1)
			}
			_ = unix.Close(fd)
			sent.Add(1)
		}
	}()
	for i := range switches {
		require.NoError(t, k.LoadTable(tables[i%2]))
	}
	close(stop)
	<-done
	require.Zero(t, gaps.Load())
	t.Logf("%d switches under %d datagrams", switches, sent.Load())
}

// What is pinned of an engine takes policies and changes of sets from other processes.
func TestPinnedTables(t *testing.T) {
	lo := device{1, 24, 0}
	pin, own := filepath.Join(bpffs(t), "corp"), ownCgroup(t) // where no test before has left a socket that still sends
	policy := func(name string) *compiler.Policy {
		return check(t, fmt.Sprintf(`policy %s { default allow
  set live dynamic = { 192.0.2.0/24 }
  set ports dynamic = { 99 }
  rule live: deny log if remote_address in $live
  rule %s: deny if remote_port in $ports }`, name, name), nil)
	}
	var logged atomic.Pointer[codegen.Rule]
	k := attachTable(t, policy("one"), runtime.KernelOptions{Cgroup: own, Pin: pin, Event: func(p *codegen.Program, e *codegen.Event) { logged.Store(&p.Rules[e.Rule]) }})
	require.True(t, deniesDatagram(t, k, lo, "192.0.2.1:1"))
	require.False(t, deniesDatagram(t, k, lo, "203.0.113.1:1"))

	require.NoError(t, runtime.ChangePinnedSet(pin, "live", compiler.AddToSet, []string{"203.0.113.1"}))
	require.True(t, deniesDatagram(t, k, lo, "203.0.113.1:1"))
	require.NoError(t, runtime.ChangePinnedSet(pin, "ports", compiler.ReplaceSet, []string{"5000-6000"}))
	require.True(t, deniesDatagram(t, k, lo, "198.51.100.9:5555"))
	require.False(t, deniesDatagram(t, k, lo, "198.51.100.9:99"))

	require.NoError(t, runtime.LoadPinnedTable(pin, table(t, policy("two"))))
	require.True(t, deniesDatagram(t, k, lo, "203.0.113.1:1"), "a changed set stays, if the policy starts it with the same values")
	require.True(t, deniesDatagram(t, k, lo, "198.51.100.9:5555"))
	for _, status := range []func() (*runtime.Status, error){k.Status, func() (*runtime.Status, error) { return runtime.PinnedStatus(pin) }} {
		s, err := status()
		require.NoError(t, err)
		require.Equal(t, "two", s.Policy)
		require.Equal(t, 2, s.Generation)
		require.Equal(t, "live", s.Rules[0].ID)
		require.EqualValues(t, 3, s.Rules[0].Decisions)
		require.Equal(t, "two", s.Rules[1].ID)
		require.EqualValues(t, 1, s.Rules[1].Decisions)
		for _, stage := range s.Stages {
			require.True(t, stage.Attached, stage.Section)
		}
	}
	maps, err := runtime.OpenTables(pin)
	require.NoError(t, err)
	defer maps.Close()
	read, counters, err := runtime.ReadTable(maps, compiler.Connect)
	require.NoError(t, err)
	about, err := read.Description()
	require.NoError(t, err)
	require.Equal(t, "two", about.Policy)
	require.Equal(t, []uint64{1, 1, 0}, counters)

	require.NoError(t, k.ChangeSet("live", compiler.ReplaceSet, []string{"100.64.0.0/10"}))
	require.False(t, deniesDatagram(t, k, lo, "203.0.113.1:1"))
	require.NoError(t, k.Close())

	// The next process takes over what the one before has left.
	k = attachTable(t, policy("three"), runtime.KernelOptions{Cgroup: own, Pin: pin})
	require.True(t, deniesDatagram(t, k, lo, "100.64.2.3:1"))
	require.False(t, deniesDatagram(t, k, lo, "203.0.113.1:1"))
	require.EqualValues(t, 4, counts(t, k)["live"])
	require.NoError(t, k.Close())
	require.NoError(t, runtime.Unpin(pin))
	require.Equal(t, "live", logged.Load().ID)
}

// veth makes a network device, which is up until the end of the test.
func veth(t *testing.T, name string) (netlink.Link, device) {
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "-peer"}
	require.NoError(t, netlink.LinkAdd(link))
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	made, err := netlink.LinkByName(name)
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(made))
	return made, device{uint32(made.Attrs().Index), 6, 0}
}

// A named interface is the one that has the name now, in a table as in form code.
func TestTableFollowsInterfaces(t *testing.T) {
	k := attachTable(t, check(t, `policy p { default allow
  interface vpn = name "hgvpn0"
  set ports dynamic = { 9 }
  rule vpn: deny if next_hop == $vpn
  rule ports: deny if remote_port in $ports }`, nil), runtime.KernelOptions{})
	made, d := veth(t, "hgother0")
	require.False(t, deniesDatagram(t, k, d, "192.0.2.1:1"))
	require.True(t, deniesDatagram(t, k, d, "192.0.2.1:9"))
	require.NoError(t, netlink.LinkSetDown(made))
	require.NoError(t, netlink.LinkSetName(made, "hgvpn0"))
	require.NoError(t, netlink.LinkSetUp(made))
	require.Eventually(t, func() bool { return deniesDatagram(t, k, d, "192.0.2.1:1") }, 5*time.Second, time.Millisecond)
	require.True(t, deniesDatagram(t, k, d, "192.0.2.1:9"))
	require.False(t, deniesDatagram(t, k, device{1, 24, 0}, "192.0.2.1:1"))
	require.True(t, deniesDatagram(t, k, device{1, 24, 0}, "192.0.2.1:9"))
}
