//go:build linux

package linux

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Somebody who does not read what run prints holds up neither decisions nor reloads
// nor the end.
func TestRunDoesNotWaitForReaders(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	path := filepath.Join(dir, "no.hop")
	require.NoError(t, os.WriteFile(path, []byte("policy no { default allow\n rule no: deny log if remote_port == 7001 }"), 0o666))
	run := exec.Command(self, "run", "--cgroup", cgroup, path)
	run.Args[0] = "hopgate"
	stdout, err := run.StdoutPipe()
	require.NoError(t, err)
	said, err := os.Create(filepath.Join(dir, "stderr"))
	require.NoError(t, err)
	defer said.Close()
	run.Stderr = said
	require.NoError(t, run.Start())
	defer run.Process.Kill()
	says := func(want string) {
		require.Eventually(t, func() bool {
			text, err := os.ReadFile(said.Name())
			return err == nil && strings.Contains(string(text), want)
		}, 20*time.Second, time.Millisecond, "it does not say %q", want)
	}
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
