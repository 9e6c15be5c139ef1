//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

// keepPins gives what puts the pinned maps of these names back as they are now: as
// whoever is killed before it pins its own leaves them.
func keepPins(t *testing.T, dir string, names ...string) (putBack func()) {
	kept := map[string]*ebpf.Map{}
	for _, name := range names {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = m.Close() })
		kept[name], err = m.Clone()
		require.NoError(t, err)
	}
	return func() {
		for name, m := range kept {
			require.NoError(t, os.Remove(filepath.Join(dir, name)))
			require.NoError(t, m.Pin(filepath.Join(dir, name)))
			_ = m.Close()
		}
	}
}

func deniesPort(t *testing.T, port int) bool {
	fd := socketOf(t, unix.AF_INET, unix.SOCK_DGRAM, 0)
	err := unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	return errors.Is(err, unix.EPERM)
}

// A start that is killed when its programs are attached but its maps not pinned has its
// policy in force. Nobody is told that it is the one before, nor changes sets that nothing
// looks at.
func TestKilledTakeover(t *testing.T) {
	policies := []*compiler.Policy{deniesOne(t, "one", 7001), deniesOne(t, "two", 7002)}
	for name, attach := range map[string]func(*testing.T, int, string) *runtime.Kernel{
		"code": func(t *testing.T, p int, dir string) *runtime.Kernel {
			return attachPolicy(t, policies[p], runtime.KernelOptions{Pin: dir})
		},
		"table": func(t *testing.T, p int, dir string) *runtime.Kernel {
			return attachTable(t, policies[p], runtime.KernelOptions{Pin: dir})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(bpffs(t), "killed")
			require.NoError(t, attach(t, 0, dir).Close())
			maps := engineMaps
			if name == "code" {
				maps = maps[:4]
			}
			putBack := keepPins(t, dir, maps...)
			require.NoError(t, attach(t, 1, dir).Close())
			putBack()

			const refused = "another policy is in force than the one that is pinned in"
			_, err := runtime.PinnedStatus(dir)
			require.ErrorContains(t, err, refused)
			require.ErrorContains(t, runtime.ChangePinnedSet(dir, "ports", compiler.AddToSet, []string{"7003"}), refused)
			if name == "table" {
				require.ErrorContains(t, runtime.LoadPinnedTable(dir, table(t, policies[0])), refused)
			}
			require.True(t, deniesPort(t, 7002))

			require.NoError(t, attach(t, 1, dir).Close())
			require.NoError(t, runtime.ChangePinnedSet(dir, "ports", compiler.AddToSet, []string{"7003"}))
			require.True(t, deniesPort(t, 7003))
			s, err := runtime.PinnedStatus(dir)
			require.NoError(t, err)
			require.Equal(t, "two", s.Policy)
			require.NoError(t, runtime.Unpin(dir))
		})
	}
}

// A load of a table that is killed before it has written down what it has loaded: the
// sets of its policy are not those of the policy before.
func TestKilledLoad(t *testing.T) {
	one := deniesOne(t, "one", 7001)
	two := check(t, "policy two { default allow\n set others dynamic = { 7002 }\n rule two: deny if remote_port in $others }", nil)
	dir := filepath.Join(bpffs(t), "killed")
	k := attachTable(t, one, runtime.KernelOptions{Pin: dir})
	putBack := keepPins(t, dir, "hopgate_program")
	require.NoError(t, runtime.LoadPinnedTable(dir, table(t, two)))
	putBack()
	require.True(t, deniesPort(t, 7002))
	require.ErrorContains(t, runtime.ChangePinnedSet(dir, "ports", compiler.AddToSet, []string{"7003"}), "another policy is in force")
	require.NoError(t, k.LoadTable(table(t, one)))
	require.True(t, deniesPort(t, 7001))
	require.False(t, deniesPort(t, 7002))
	require.NoError(t, k.Close())
	require.NoError(t, runtime.ChangePinnedSet(dir, "ports", compiler.AddToSet, []string{"7003"}))
	require.True(t, deniesPort(t, 7003))
	require.NoError(t, runtime.Unpin(dir))
}

var engineMaps = []string{"hopgate_program", "hopgate_tables", "hopgate_state", "hopgate_counters", "hopgate_policy"}

func deniesOne(t *testing.T, name string, port int) *compiler.Policy {
	return check(t, fmt.Sprintf("policy %s { default allow\n set ports dynamic = { %d }\n rule r: deny if remote_port in $ports }", name, port), nil)
}

// A table that is loaded while another run takes the engine over goes into the new engine.
func TestLoadWaitsForTakeover(t *testing.T) {
	dir := filepath.Join(bpffs(t), "taken")
	require.NoError(t, attachTable(t, deniesOne(t, "one", 7001), runtime.KernelOptions{Pin: dir}).Close())
	before := keepPins(t, dir, engineMaps...)
	require.NoError(t, attachTable(t, deniesOne(t, "two", 7002), runtime.KernelOptions{Pin: dir}).Close())
	after := keepPins(t, dir, engineMaps...)
	before()
	three := table(t, deniesOne(t, "three", 7003))
	lock, loaded := lockOf(t, dir), make(chan error)
	go func() { loaded <- runtime.LoadPinnedTable(dir, three) }()
	waitsFor(t, lock)
	after()
	require.NoError(t, lock.Close())
	require.NoError(t, <-loaded)
	require.True(t, deniesPort(t, 7003))
	require.NoError(t, runtime.Unpin(dir))
}

// A run whose policy another has taken over does not put its own in the place of that.
func TestReloadAfterTakeover(t *testing.T) {
	dir := filepath.Join(bpffs(t), "taken")
	const refused = "another process has taken over"
	first := attachPolicy(t, deniesOne(t, "one", 7001), runtime.KernelOptions{Pin: dir})
	second := attachTable(t, deniesOne(t, "two", 7002), runtime.KernelOptions{Pin: dir})
	require.ErrorContains(t, first.Update(compile(t, deniesOne(t, "one", 7001), codegen.Options{})), refused)
	third := attachTable(t, deniesOne(t, "three", 7003), runtime.KernelOptions{Pin: dir})
	require.ErrorContains(t, second.LoadTable(table(t, deniesOne(t, "two", 7002))), refused)
	require.ErrorContains(t, second.ChangeSet("ports", compiler.AddToSet, []string{"7004"}), refused)
	require.NoError(t, runtime.ChangePinnedSet(dir, "ports", compiler.AddToSet, []string{"7004"}))
	require.True(t, deniesPort(t, 7003))
	require.True(t, deniesPort(t, 7004))
	require.False(t, deniesPort(t, 7002))
	require.NoError(t, third.InForce())
	require.NoError(t, runtime.Unpin(dir))
}
