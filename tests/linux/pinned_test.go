//go:build linux

package linux

import (
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

// setsAre is a policy that denies ports in set a unless they are in set b, with the sets in
// an order.
func setsAre(t *testing.T, name string, order ...string) *codegen.Table {
	text := "policy " + name + " { default allow\n"
	for _, set := range order {
		text += fmt.Sprintf("set %s dynamic = { %d }\n", set, map[string]int{"a": 1, "b": 2}[set])
	}
	return table(t, check(t, text+"rule b: allow if remote_port in $b\n rule a: deny if remote_port in $a }", nil))
}

// Who looks while another process loads a table, before that has noted what it is, looks again.
func TestStatusWhileLoading(t *testing.T) {
	pin := filepath.Join(bpffs(t), "corp")
	k := attachTable(t, check(t, "policy one { default allow }", nil), runtime.KernelOptions{Pin: pin})
	before := keepPins(t, pin, "hopgate_program")
	require.NoError(t, runtime.LoadPinnedTable(pin, table(t, check(t, "policy two { default allow }", nil))))
	after := keepPins(t, pin, "hopgate_program")
	before()
	_, err := k.Status()
	require.NoError(t, err)
	after()
	s, err := k.Status()
	require.NoError(t, err)
	require.Equal(t, "two", s.Policy)
}

// The policy in force is told by its generation, of which events have only the lowest byte.
func TestGenerationsComeRound(t *testing.T) {
	pin := filepath.Join(bpffs(t), "corp")
	k := attachTable(t, check(t, "policy p { default allow }", nil), runtime.KernelOptions{Pin: pin})
	require.NoError(t, k.LoadTable(setsAre(t, "one", "a", "b")))
	maps, err := runtime.OpenTables(pin)
	require.NoError(t, err)
	defer maps.Close()
	now, err := maps.Generation(compiler.Connect)
	require.NoError(t, err)
	later, with := setsAre(t, "two", "b", "a"), codegen.TableLoading{Generation: now + 256}
	require.NoError(t, maps.PutSets(codegen.TableSetBase(compiler.Connect, with.Generation), later.SetTables))
	require.NoError(t, maps.Switch(compiler.Connect, later.Parts(&with)))
	require.NoError(t, k.ChangeSet("a", compiler.AddToSet, []string{"7000"}))
	require.True(t, deniesDatagram(t, k, device{1, 24, 0}, "192.0.2.1:7000"))
}

// lockOf locks a directory, as whoever changes what is pinned there.
func lockOf(t *testing.T, dir string) *os.File {
	f, err := os.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	return f
}

// waitsFor waits until somebody waits for a lock.
func waitsFor(t *testing.T, lock *os.File) {
	var stat unix.Stat_t
	require.NoError(t, unix.Fstat(int(lock.Fd()), &stat))
	require.Eventually(t, func() bool {
		locks, err := os.ReadFile("/proc/locks")
		require.NoError(t, err)
		for line := range strings.Lines(string(locks)) {
			if strings.Contains(line, "-> FLOCK") && strings.Contains(line, fmt.Sprintf(":%d ", stat.Ino)) {
				return true
			}
		}
		return false
	}, 5*time.Second, time.Millisecond)
}

// Who waits for a directory that is removed and made again has not locked the new one.
func TestLockOfRemovedDirectory(t *testing.T) {
	dir := filepath.Join(bpffs(t), "corp")
	require.NoError(t, os.Mkdir(dir, 0o700))
	before, done := lockOf(t, dir), make(chan error)
	go func() { done <- runtime.Unpin(dir) }()
	waitsFor(t, before)
	require.NoError(t, os.Remove(dir))
	require.NoError(t, os.Mkdir(dir, 0o700))
	again := lockOf(t, dir)
	require.NoError(t, before.Close())
	waitsFor(t, again)
	require.NoError(t, again.Close())
	require.NoError(t, <-done)
	require.NoDirExists(t, dir)
}

// Named interfaces are those of the namespace of the process that follows them, though
// another has loaded the policy.
func TestTableOfAnotherNamespace(t *testing.T) {
	pin := filepath.Join(bpffs(t), "corp")
	p := check(t, "policy p { default allow\n interface vpn = name \"hgvpn1\"\n rule vpn: deny if next_hop == $vpn }", nil)
	k := attachTable(t, p, runtime.KernelOptions{Pin: pin})
	done := make(chan error)
	go func() {
		goruntime.LockOSThread() // and never unlocked: the thread ends with its namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = runtime.LoadPinnedTable(pin, table(t, p))
		}
		done <- err
	}()
	require.NoError(t, <-done)
	_, d := veth(t, "hgvpn1")
	require.Eventually(t, func() bool { return deniesDatagram(t, k, d, "192.0.2.1:1") }, 5*time.Second, time.Millisecond)
}

// A named interface that cannot be looked up for a while stays the one that it was.
func TestInterfaceLookupFails(t *testing.T) {
	made, d := veth(t, "hgvpn2")
	open, err := netlink.NewHandle()
	require.NoError(t, err)
	defer open.Close()
	problems := make(chan error, 64)
	k := attach(t, "policy p { default allow\n interface vpn = name \"hgvpn2\"\n rule vpn: deny if next_hop == $vpn }",
		runtime.KernelOptions{Problem: func(err error) { problems <- err }})
	require.True(t, deniesDatagram(t, k, d, "192.0.2.1:1"))
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Max: limit.Max})) // nothing can be opened
	err = open.LinkSetMTU(made, 1400)
	problem := <-problems
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	require.NoError(t, err)
	require.ErrorContains(t, problem, "too many open files")
	require.True(t, deniesDatagram(t, k, d, "192.0.2.1:1"))
}

// A loader that cannot note its policy says that it is in force.
func TestTableThatCannotBeNoted(t *testing.T) {
	pin := filepath.Join(bpffs(t), "corp")
	k := attachTable(t, check(t, "policy one { default allow }", nil), runtime.KernelOptions{Pin: pin})
	require.NoError(t, os.MkdirAll(filepath.Join(pin, "hopgate_program_next", "full"), 0o700))
	require.ErrorIs(t, runtime.LoadPinnedTable(pin, table(t, check(t, "policy two { default deny }", nil))), runtime.ErrNotPinned)
	require.True(t, deniesDatagram(t, k, device{1, 24, 0}, "192.0.2.1:1"))
	_, err := runtime.PinnedStatus(pin)
	require.ErrorContains(t, err, "another policy is in force")
}
