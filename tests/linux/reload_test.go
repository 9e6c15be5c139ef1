//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/runtime"
)

// Two policies that deny the same connection by different rules take turns; no
// connection is decided by neither, and none of the counts is lost.
func TestReloadsLeaveNoGap(t *testing.T) {
	reloads := 1000
	if testing.Short() {
		reloads = 100
	}
	var programs [2]*codegen.Program
	for i := range programs {
		text := fmt.Sprintf("policy p { default allow\n rule r%d: deny if remote_port in { 7001, 7002 } and interface_type == loopback\n rule all%d: deny if remote_port == 7003 }", i, i)
		programs[i] = compile(t, check(t, text, nil), codegen.Options{})
	}
	k, err := runtime.AttachKernel(programs[0], &runtime.KernelOptions{Cgroup: cgroup})
	require.NoError(t, err)
	defer k.Close()

	var connects, gaps atomic.Int64
	stop := make(chan struct{})
	done := make(chan struct{})
	const clients = 3
	for i := range clients {
		go func() {
			defer func() { done <- struct{}{} }()
			kind := []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_DGRAM}[i]
			to := &unix.SockaddrInet4{Port: 7001 + i, Addr: [4]byte{127, 0, 0, 1}}
			for {
				select {
				case <-stop:
					return
				default:
				}
				fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					continue
				}
				if kind == unix.SOCK_STREAM {
					err = unix.Connect(fd, to)
				} else {
					err = unix.Sendto(fd, []byte("x"), 0, to)
				}
				_ = unix.Close(fd)
				connects.Add(1)
				time.Sleep(20 * time.Microsecond)
				if !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.EPERM) {
					gaps.Add(1)
				}
			}
		}()
	}
	for i := range reloads {
		require.NoError(t, k.Update(programs[(i+1)%2]))
	}
	close(stop)
	for range clients {
		<-done
	}
	require.Zero(t, gaps.Load())
	require.Greater(t, connects.Load(), int64(reloads))
	s, err := k.Status()
	require.NoError(t, err)
	require.Equal(t, reloads+1, s.Generation)
	var total uint64
	for _, r := range s.Rules {
		total += r.Decisions
	}
	t.Logf("%d reloads under %d connects, none undecided", reloads, connects.Load())
	require.NotZero(t, total)
}

// bpffs mounts a BPF file system for a test.
func bpffs(t *testing.T) string {
	dir := t.TempDir()
	require.NoError(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// childPins makes this binary pin the corporate policy there and wait to be killed.
const childPins = "HOPGATE_TEST_PINS"

// pinAsChild attaches to the cgroup of its parent.
func pinAsChild(dir string) int {
	t := &childT{}
	k, err := runtime.AttachKernel(compile(t, check(t, pinnedPolicy, nil), codegen.Options{}),
		&runtime.KernelOptions{Cgroup: os.Getenv("HOPGATE_TEST_CGROUP"), Pin: dir})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer k.Close()
	fmt.Println("attached")
	time.Sleep(time.Minute)
	return 0
}

const pinnedPolicy = `policy pinned { default allow
  rule one: deny if remote_port == 7001 and interface_type == loopback }`

// A policy that is pinned outlives its process, and the next process takes it over
// with its counters.
func TestPinnedPolicyOutlivesItsProcess(t *testing.T) {
	dir := filepath.Join(bpffs(t), "corp")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childPins+"="+dir, "HOPGATE_TEST_CGROUP="+cgroup)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line := make([]byte, 100)
	n, err := out.Read(line)
	require.NoError(t, err)
	require.Equal(t, "attached\n", string(line[:n]))

	denied := func() error {
		fd := socketOf(t, unix.AF_INET, unix.SOCK_STREAM, 0)
		return unix.Connect(fd, &unix.SockaddrInet4{Port: 7001, Addr: [4]byte{127, 0, 0, 1}})
	}
	require.ErrorIs(t, denied(), unix.EHOSTUNREACH)
	require.NoError(t, child.Process.Kill())
	_ = child.Wait()
	require.ErrorIs(t, denied(), unix.EHOSTUNREACH)

	s, err := runtime.PinnedStatus(dir)
	require.NoError(t, err)
	require.Equal(t, "pinned", s.Policy)
	require.Equal(t, 1, s.Generation)
	require.EqualValues(t, 2, s.Rules[0].Decisions)
	for _, stage := range s.Stages {
		require.True(t, stage.Attached, stage.Section)
	}

	k := attach(t, pinnedPolicy, runtime.KernelOptions{Pin: dir})
	require.ErrorIs(t, denied(), unix.EHOSTUNREACH)
	require.EqualValues(t, 3, counts(t, k)["one"])
	s, err = k.Status()
	require.NoError(t, err)
	require.Equal(t, 2, s.Generation)
	require.NoError(t, k.Close())
	require.ErrorIs(t, denied(), unix.EHOSTUNREACH)

	_, err = runtime.AttachKernel(compile(t, check(t, pinnedPolicy, nil), codegen.Options{}),
		&runtime.KernelOptions{Cgroup: cgroupRoot(), Pin: dir})
	require.ErrorContains(t, err, "another cgroup")

	require.NoError(t, os.RemoveAll(dir))
	// The kernel lets go of links in its own time.
	require.Eventually(t, func() bool { return errors.Is(denied(), unix.ECONNREFUSED) }, 5*time.Second, time.Millisecond)
}

// After a reload another process sees the decisions of before, and a start that follows a
// kill goes on from them, though no further reload has come.
func TestPinnedCountersAfterReload(t *testing.T) {
	dir := filepath.Join(bpffs(t), "counted")
	denied := func() {
		fd := socketOf(t, unix.AF_INET, unix.SOCK_STREAM, 0)
		require.ErrorIs(t, unix.Connect(fd, &unix.SockaddrInet4{Port: 7001, Addr: [4]byte{127, 0, 0, 1}}), unix.EHOSTUNREACH)
	}
	decided := func(want uint64) {
		t.Helper()
		s, err := runtime.PinnedStatus(dir)
		require.NoError(t, err)
		require.Equal(t, want, s.Rules[0].Decisions)
	}
	k := attach(t, pinnedPolicy, runtime.KernelOptions{Pin: dir})
	denied()
	for range 2 {
		require.NoError(t, k.Update(compile(t, check(t, pinnedPolicy, nil), codegen.Options{})))
		decided(1)
	}
	denied()
	decided(2)
	require.EqualValues(t, 2, counts(t, k)["one"])
	require.NoError(t, k.Close())
	decided(2)
	k = attach(t, pinnedPolicy, runtime.KernelOptions{Pin: dir})
	denied()
	decided(3)
	require.EqualValues(t, 3, counts(t, k)["one"])
	require.NoError(t, k.Close())
	require.NoError(t, runtime.Unpin(dir))
}

// What is pinned of a program does not grow by rules of others that have decided nothing.
func TestPinnedDescriptionStaysSmall(t *testing.T) {
	dir := filepath.Join(bpffs(t), "small")
	var many strings.Builder
	many.WriteString("policy many { default allow\n")
	for i := range 1000 {
		fmt.Fprintf(&many, "rule r%d: deny if remote_port == %d\n", i, 20000+i)
	}
	many.WriteString("}")
	require.NoError(t, attach(t, many.String(), runtime.KernelOptions{Pin: dir}).Close())
	require.NoError(t, attach(t, pinnedPolicy, runtime.KernelOptions{Pin: dir}).Close())
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, "hopgate_program"), nil)
	require.NoError(t, err)
	defer m.Close()
	require.EqualValues(t, 1, m.MaxEntries())
	require.NoError(t, runtime.Unpin(dir))
}

// Whoever is killed while a map takes another's place leaves the new one beside it.
func TestInterruptedPin(t *testing.T) {
	dir := filepath.Join(bpffs(t), "interrupted")
	leave := func() {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
		require.NoError(t, err)
		defer m.Close()
		require.NoError(t, m.Pin(filepath.Join(dir, "hopgate_program_next")))
	}
	k := attach(t, pinnedPolicy, runtime.KernelOptions{Pin: dir})
	leave()
	require.NoError(t, k.Update(compile(t, check(t, pinnedPolicy, nil), codegen.Options{})))
	require.NoFileExists(t, filepath.Join(dir, "hopgate_program_next"))
	_, err := runtime.PinnedStatus(dir)
	require.NoError(t, err)
	leave()
	require.NoError(t, k.Close())
	require.NoError(t, runtime.Unpin(dir))
	require.NoDirExists(t, dir)
}

// A start that cannot attach everything leaves in force what was pinned, whole.
func TestTakeoverFails(t *testing.T) {
	dir := filepath.Join(bpffs(t), "taken")
	denied := func(port int) bool {
		fd := socketOf(t, unix.AF_INET, unix.SOCK_DGRAM, 0)
		err := unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
		return errors.Is(err, unix.EPERM)
	}
	require.NoError(t, attach(t, pinnedPolicy, runtime.KernelOptions{Pin: dir}).Close())
	// In the place of a stage that is no longer there somebody wants to be alone.
	require.NoError(t, os.Remove(filepath.Join(dir, "connect4")))
	alone, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupSockAddr, AttachType: ebpf.AttachCGroupInet4Connect, License: codegen.License,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	require.NoError(t, err)
	defer alone.Close()
	directory, err := os.Open(cgroup)
	require.NoError(t, err)
	defer directory.Close()
	there := link.RawAttachProgramOptions{Target: int(directory.Fd()), Program: alone, Attach: ebpf.AttachCGroupInet4Connect}
	// The kernel lets go of links in its own time.
	require.Eventually(t, func() bool { return link.RawAttachProgram(there) == nil }, 5*time.Second, time.Millisecond)
	defer func() {
		require.NoError(t, link.RawDetachProgram(link.RawDetachProgramOptions{Target: there.Target, Program: alone, Attach: there.Attach}))
	}()
	other := "policy other { default allow\n rule two: deny if remote_port == 7002 and interface_type == loopback }"
	_, err = runtime.AttachKernel(compile(t, check(t, other, nil), codegen.Options{}), &runtime.KernelOptions{Cgroup: cgroup, Pin: dir})
	require.ErrorContains(t, err, "exclusively at connect4")
	require.True(t, denied(7001))
	require.False(t, denied(7002))
	require.NoError(t, runtime.Unpin(dir))
}

// childT fails a child process.
type childT struct{ testing.TB }

func (*childT) Helper()                        {}
func (*childT) Errorf(format string, a ...any) { fmt.Printf(format+"\n", a...) }
func (*childT) FailNow()                       { os.Exit(1) }
