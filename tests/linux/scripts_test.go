//go:build linux

package linux

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Each script is a user's session with run, status, set and unpin. $CGROUP is a
// cgroup of its own and $PIN a directory that may be made on a BPF file system.
func TestScripts(t *testing.T) {
	bin := t.TempDir()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(bin, "hopgate"))
	}
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	bpf := bpffs(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "scripts",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"says": says},
		Setup: func(env *testscript.Env) error {
			name := filepath.Base(env.WorkDir)
			path := filepath.Join(cgroup, name)
			env.Setenv("PATH", bin+":"+env.Getenv("PATH"))
			env.Setenv("CGROUP", path)
			env.Setenv("EXAMPLES", examples)
			env.Setenv("PIN", filepath.Join(bpf, name))
			env.Defer(func() { _ = os.Remove(path) })
			return os.Mkdir(path, 0o755)
		},
	})
}

// says is the script command `says FILE TEXT`: it waits until a program in the
// background has written the text. `! says` is about now.
func says(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: says FILE TEXT")
	}
	read := func() string {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil && !os.IsNotExist(err) {
			ts.Fatalf("%v", err)
		}
		return string(text)
	}
	if neg {
		if strings.Contains(read(), args[1]) {
			ts.Fatalf("%s says %q:\n%s", args[0], args[1], read())
		}
		return
	}
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(read(), args[1]); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not say %q:\n%s", args[0], args[1], read())
		}
	}
}
