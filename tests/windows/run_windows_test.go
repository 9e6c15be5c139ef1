package windows

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"

	"github.com/hopgate/hopgate/cmd/hopgate/cli"
)

// The test's program is hopgate, too, where it is told to run a policy.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		os.Exit(cli.Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// hopgate gives the path of a hopgate.exe that finds the stand-in, beside it.
func hopgate(t *testing.T) string {
	newFake(t)
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	path := `C:\hopgate\hopgate.exe`
	_ = os.Remove(path)
	require.NoError(t, os.WriteFile(path, program, 0o777))
	return path
}

// policyFile writes a policy to a path with a space in it, with the line ends of
// Windows.
func policyFile(t *testing.T, text string) string {
	dir := `C:\hopgate\my policies`
	require.NoError(t, os.MkdirAll(dir, 0o777))
	path := filepath.Join(dir, "corp.hop")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(text, "\n", "\r\n")), 0o666))
	return path
}

const corporate = `policy corp {
  default deny
  interface vpn = alias "no such interface"
  rule smb: deny if remote_port == 445/tcp
  rule vpn: allow if next_hop == $vpn
}
`

// start runs a policy till the test ends. expect waits for a line that has a text.
func start(t *testing.T, args ...string) (expect func(want string)) {
	cmd := exec.Command(hopgate(t), append([]string{"run"}, args...)...)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	require.NoError(t, cmd.Start())
	go func() {
		_ = cmd.Wait()
		_ = w.Close()
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(r)
	return func(want string) {
		t.Helper()
		var seen []string
		for lines.Scan() {
			seen = append(seen, lines.Text())
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("no line has %q:\n%s", want, strings.Join(seen, "\n"))
	}
}

// A running policy follows its file, and stays when the file has errors.
func TestRun(t *testing.T) {
	path := policyFile(t, corporate)
	expect := start(t, "--hook", "auto", path)
	expect("interface `vpn`: there is no interface of alias `no such interface` now")
	expect("policy corp is in force on this host")
	policyFile(t, strings.Replace(corporate, "445", "446", 1))
	expect("policy corp is in force, loaded again")
	policyFile(t, strings.Replace(corporate, "default", "defualt", 1))
	expect(path + ":2:3: ")
	expect("the policy before stays in force")
}

// A policy of more machine code than eBPF for Windows takes becomes a table.
func TestRunLarge(t *testing.T) {
	var large strings.Builder
	large.WriteString("policy large {\n  default deny\n")
	for i := range 1000 {
		fmt.Fprintf(&large, "  rule r%d: allow if remote == 10.%d.%d.9:%d/tcp\n", i, i*7%250, i*13%256, i+1)
	}
	large.WriteString("}\n")
	expect := start(t, policyFile(t, large.String()))
	expect("the policy does not load in form code; it is a table")
	expect("policy large is in force on this host")
	policyFile(t, strings.Replace(corporate, "vpn", "vpn2", -1))
	expect("policy corp is in force, loaded again")
}

// Command lines that ask for what Windows has not.
func TestRunMisuse(t *testing.T) {
	path, program := policyFile(t, corporate), hopgate(t)
	for want, args := range map[string][]string{
		"--cgroup and a command are for Linux":            {"--cgroup", "x", path},
		"--connect-stage and --udp-replies are for Linux": {"--connect-stage", "off", path},
		"--hook linux needs a host of":                    {"--hook", "linux", path},
		`C:\no such\engine.sys: `:                         {"--driver", `C:\no such\engine.sys`, path},
		"started by the service control manager":          {"--service", path},
		"the name of one ends in .sys":                    {"--driver", path, path},
		"no policy has an interface `vpx`":                {"--bind", "vpx=0x1", path},
	} {
		out, err := exec.Command(program, append([]string{"run"}, args...)...).CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), want)
	}
}

// As a service it says when it is running, and stops when it is told to.
func TestService(t *testing.T) {
	program := hopgate(t)
	manager, err := mgr.Connect()
	require.NoError(t, err)
	defer manager.Disconnect()
	const name = "hopgate-test"
	if old, err := manager.OpenService(name); err == nil {
		_, _ = old.Control(svc.Stop)
		_ = old.Delete()
		_ = old.Close()
	}
	service, err := manager.CreateService(name, program, mgr.Config{}, "run", "--service", policyFile(t, corporate))
	require.NoError(t, err)
	defer service.Close()
	defer service.Delete()
	state := func(wanted ...svc.State) {
		t.Helper()
		var status svc.Status
		for range 200 {
			status, err = service.Query()
			require.NoError(t, err)
			if slices.Contains(wanted, status.State) {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("state %d after ten seconds; want %v", status.State, wanted)
	}
	require.NoError(t, service.Start())
	state(svc.Running)
	_, err = service.Control(svc.Stop)
	require.NoError(t, err)
	state(svc.Stopped)
}
