//go:build linux

package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// command is hopgate, to be started; says waits for what it writes to standard error.
func command(t *testing.T, args ...string) (c *exec.Cmd, says func(want string)) {
	self, err := os.Executable()
	require.NoError(t, err)
	c = exec.Command(self, args...)
	c.Args[0] = "hopgate"
	said, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = said.Close() })
	c.Stderr = said
	return c, func(want string) {
		require.Eventually(t, func() bool {
			text, err := os.ReadFile(said.Name())
			return err == nil && strings.Contains(string(text), want)
		}, 5*time.Minute, time.Millisecond, "it does not say %q", want)
	}
}

// Somebody who does not read what run prints holds up neither decisions nor reloads
// nor the end.
func TestRunDoesNotWaitForReaders(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "no.hop")
	require.NoError(t, os.WriteFile(path, []byte("policy no { default allow\n rule no: deny log if remote_port == 7001 }"), 0o666))
	run, says := command(t, "run", "--cgroup", cgroup, path)
	stdout, err := run.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, run.Start())
	defer run.Process.Kill()
	says("is in force")
	fd := socketOf(t, unix.AF_INET, unix.SOCK_DGRAM, 0)
	denied := func() bool {
		err := unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: 7001, Addr: [4]byte{127, 0, 0, 1}})
		return errors.Is(err, unix.EPERM)
	}
	for range 40_000 {
		require.True(t, denied())
	}
	require.NoError(t, run.Process.Signal(unix.SIGHUP))
	says("loaded again")
	require.True(t, denied())
	require.NoError(t, run.Process.Signal(unix.SIGTERM))
	require.Eventually(t, func() bool { return !denied() }, 10*time.Second, time.Millisecond)
	says("decisions were not printed")
	lines, err := io.ReadAll(stdout)
	require.NoError(t, err)
	require.Greater(t, strings.Count(string(lines), "deny by no: 127.0.0.1:7001/udp"), 1000)
	require.NoError(t, run.Wait())
}

// Nor does somebody who reads neither decisions nor messages.
func TestRunEndsUnread(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no.hop")
	require.NoError(t, os.WriteFile(path, []byte("policy no { default allow\n rule no: deny log if remote_port == 7001 }"), 0o666))
	unread, out, err := os.Pipe()
	require.NoError(t, err)
	defer unread.Close()
	defer out.Close()
	raw, err := out.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Write(func(fd uintptr) bool {
		for err = nil; err == nil; {
			_, err = unix.Write(int(fd), make([]byte, 1<<12))
		}
		return true
	}))
	require.ErrorIs(t, err, unix.EAGAIN)
	run, _ := command(t, "run", "--cgroup", cgroup, path)
	run.Stdout, run.Stderr = out, out
	require.NoError(t, run.Start())
	defer run.Process.Kill()
	require.Eventually(t, func() bool { return deniesPort(t, 7001) }, 5*time.Minute, time.Millisecond)
	require.NoError(t, os.WriteFile(path, []byte("policy no { default allow\n rule no: deny log if remote_port == 7002 }"), 0o666))
	require.Eventually(t, func() bool { return deniesPort(t, 7002) }, time.Minute, time.Millisecond)
	require.NoError(t, run.Process.Signal(unix.SIGTERM))
	require.NoError(t, run.Wait())
	require.False(t, deniesPort(t, 7002))
}

// A policy that the kernel's verifier refuses as code becomes a table, also in the place of
// one in force as code, and decides as the reference does. Comparisons of halves of IPv6
// addresses take most of the verifier for their number.
func TestRunTakesTable(t *testing.T) {
	const rules, addresses = 600, 500 // of a rule
	everywhere(t)
	address := func(i int) netip.Addr {
		a := netip.MustParseAddr("2001:db8::").As16()
		binary.BigEndian.PutUint32(a[12:], uint32(i)*2654435761) // scattered
		return netip.AddrFrom16(a)
	}
	var large strings.Builder
	large.WriteString("policy large { default allow\n")
	for r := range rules {
		fmt.Fprintf(&large, "rule r%d: %s if remote_address in {", r, []string{"deny", "allow"}[r%2])
		for i := range addresses {
			fmt.Fprintf(&large, "%s%s", []string{"", ", "}[min(i, 1)], address(i*rules+r))
		}
		large.WriteString("}\n")
	}
	large.WriteString("}\n")
	policy := check(t, large.String(), nil)

	path := filepath.Join(t.TempDir(), "p.hop")
	require.NoError(t, os.WriteFile(path, []byte("policy small { default allow }"), 0o666))
	run, says := command(t, "run", "--cgroup", cgroup, path)
	require.NoError(t, run.Start())
	defer run.Process.Kill()
	says("policy small is in force")
	require.NoError(t, os.WriteFile(path, []byte(large.String()), 0o666))
	says("the kernel's verifier refuses the policy in form code; it is a table from now on")
	says("policy large is in force, loaded again")
	fd := socketOf(t, unix.AF_INET6, unix.SOCK_DGRAM, 0)
	for i := range 1000 {
		r := compiler.NoContext()
		r.Protocol, r.Remote = 17, netip.AddrPortFrom(address(i*(rules*addresses/900)), 7001) // some are of no rule
		err := unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet6{Port: 7001, Addr: r.Remote.Addr().As16()})
		require.Equal(t, policy.Eval(&r).Verdict == lang.Deny, errors.Is(err, unix.EPERM), "%s: %v", r.Remote, err)
	}
	require.NoError(t, run.Process.Signal(unix.SIGTERM))
	require.NoError(t, run.Wait())
}
