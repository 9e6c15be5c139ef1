//go:build linux

// Package linux tests programs of target linux in the kernel: as root, in network
// namespaces and cgroups of its own.
package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/cmd/hopgate/cli"
	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
)

// inside marks the process that runs in namespaces of its own.
const inside = "HOPGATE_TEST_INSIDE"

// TestMain runs the tests in a process of their own, in new network and mount
// namespaces.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "hopgate" {
		os.Exit(cli.Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	if to := os.Getenv(childSends); to != "" {
		os.Exit(sendAsChild(to))
	}
	if dir := os.Getenv(childPins); dir != "" {
		os.Exit(pinAsChild(dir))
	}
	if os.Getenv(inside) != "" {
		os.Exit(runInside(m))
	}
	if reason := unable(); reason != "" {
		if os.Getenv("CI") != "" {
			fmt.Println("FAIL: these tests must run in CI:", reason)
			os.Exit(1)
		}
		fmt.Println("skipped:", reason)
		return
	}
	child := exec.Command(os.Args[0], os.Args[1:]...)
	child.Env = append(os.Environ(), inside+"=1")
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
	if err := child.Run(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// sendAsChild sends a datagram and gives the error's number.
func sendAsChild(to string) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err == nil {
		err = unix.Sendto(fd, []byte("x"), 0, sockaddr(netip.MustParseAddrPort(to)))
	}
	errno := unix.Errno(0)
	_ = errors.As(err, &errno)
	return int(errno)
}

func unable() string {
	if os.Geteuid() != 0 {
		return "not root"
	}
	if cgroupRoot() == "" {
		return "no cgroup v2 file system is mounted"
	}
	return ""
}

// cgroupRoot finds where cgroup v2 is mounted.
func cgroupRoot() string {
	for _, path := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(path, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return path
		}
	}
	return ""
}

// cgroup is where the tests run; below it are those that tests make.
var cgroup = filepath.Join(cgroupRoot(), fmt.Sprintf("hopgate-test-%d", os.Getpid()))

func runInside(m *testing.M) int {
	fail := func(err error) int {
		fmt.Println(err)
		return 1
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fail(err)
	}
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		return fail(err)
	}
	defer func() {
		if err := enter(cgroupRoot()); err != nil {
			fmt.Println(err)
		}
		if err := os.Remove(cgroup); err != nil {
			fmt.Println(err)
		}
	}()
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err == nil {
		err = enter(cgroup)
	}
	if err != nil {
		return fail(err)
	}
	return m.Run()
}

// enter moves this process into a cgroup.
func enter(path string) error {
	return os.WriteFile(filepath.Join(path, "cgroup.procs"), fmt.Append(nil, os.Getpid()), 0)
}

func check(t testing.TB, text string, opts *compiler.Options) *compiler.Policy {
	name := "test.hop"
	if len(text) > 8 && text[:8] == "version:" {
		name = "test.yaml"
	}
	file, err := lang.Parse(name, []byte(text))
	require.NoError(t, err, text)
	p, err := compiler.Check(file, opts)
	require.NoError(t, err, text)
	return p
}

func compile(t testing.TB, p *compiler.Policy, opts codegen.Options) *codegen.Program {
	d, err := compiler.Compile(p, &compiler.CompileOptions{FreeInterfaces: true, MergeRules: opts.NoCounters})
	require.NoError(t, err)
	opts.Target = codegen.Linux
	program, err := codegen.Generate(d, &opts)
	require.NoError(t, err)
	return program
}

// attach puts a policy in force for this process until the test ends.
func attach(t testing.TB, text string, opts runtime.KernelOptions) *runtime.Kernel {
	return attachPolicy(t, check(t, text, nil), opts)
}

func attachPolicy(t testing.TB, p *compiler.Policy, opts runtime.KernelOptions) *runtime.Kernel {
	return attachCode(t, p, codegen.Options{}, opts)
}

func attachCode(t testing.TB, p *compiler.Policy, form codegen.Options, opts runtime.KernelOptions) *runtime.Kernel {
	return attachProgram(t, compile(t, p, form), opts)
}

// attachTable puts a policy in force by its table until the test ends.
func attachTable(t testing.TB, p *compiler.Policy, opts runtime.KernelOptions) *runtime.Kernel {
	engine, err := codegen.GenerateEngine(codegen.Linux)
	require.NoError(t, err)
	opts.Table = table(t, p)
	return attachProgram(t, engine, opts)
}

func attachProgram(t testing.TB, program *codegen.Program, opts runtime.KernelOptions) *runtime.Kernel {
	if opts.Cgroup == "" {
		opts.Cgroup = cgroup
	}
	if opts.Problem == nil {
		opts.Problem = func(err error) { t.Log(err) }
	}
	k, err := runtime.AttachKernel(program, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func table(t testing.TB, p *compiler.Policy) *codegen.Table {
	d, err := compiler.Compile(p, &compiler.CompileOptions{FreeInterfaces: true})
	require.NoError(t, err)
	table, err := codegen.GenerateTable(d, &codegen.Options{Target: codegen.Linux}, codegen.Build{})
	require.NoError(t, err)
	return table
}

// attachAs is a way to put a policy in force. The options are those of form code.
type attachAs func(testing.TB, *compiler.Policy, codegen.Options, runtime.KernelOptions) *runtime.Kernel

// forms are the forms that a policy may have, which judge alike.
var forms = map[string]attachAs{
	"code": attachCode,
	"table": func(t testing.TB, p *compiler.Policy, _ codegen.Options, opts runtime.KernelOptions) *runtime.Kernel {
		return attachTable(t, p, opts)
	},
	"sheets": func(t testing.TB, p *compiler.Policy, _ codegen.Options, opts runtime.KernelOptions) *runtime.Kernel {
		k := attachTable(t, p, opts)
		spread, err := gen.Spread(table(t, p))
		require.NoError(t, err)
		require.NoError(t, k.LoadTable(spread))
		return k
	},
}

// counts gives the decisions by rule id, without those that decided nothing.
func counts(t testing.TB, k *runtime.Kernel) map[string]uint64 {
	s, err := k.Status()
	require.NoError(t, err)
	byRule := map[string]uint64{}
	for _, r := range s.Rules {
		if r.Decisions > 0 {
			byRule[r.ID] = r.Decisions
		}
	}
	return byRule
}
