package tests

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hopgate/hopgate/cmd/hopgate/cli"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) {
	testscript.Main(tidy{m}, map[string]func(){
		"hopgate": func() { os.Exit(cli.Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// tidy removes the program that testscript has put in front of PATH, on Windows by
// single calls: Wine 8 lacks the one that os.RemoveAll makes.
type tidy struct{ *testing.M }

func (m tidy) Run() int {
	code := m.M.Run()
	if runtime.GOOS == "windows" {
		bin := filepath.SplitList(os.Getenv("PATH"))[0]
		_ = os.Remove(filepath.Join(bin, "hopgate.exe"))
		_ = os.Remove(bin)
	}
	return code
}

// Each script is a user's session: commands, what they print, how they exit, what
// they leave behind.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "scripts",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "crlf": crlf, "badfiles": badFiles, "badobjects": badObjects,
		},
		Setup: func(env *testscript.Env) error {
			examples, err := filepath.Abs("../examples")
			env.Setenv("EXAMPLES", examples)
			return err
		},
	})
}

// exits is the script command `exits CODE COMMAND ...`: the command ends with
// exactly that code, where testscript's own `! exec` takes any failure.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		code = strconv.Itoa(failed.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

// crlf is the script command `crlf FILE...`: it ends the files' lines as Windows
// does.
func crlf(ts *testscript.TestScript, neg bool, args []string) {
	for _, file := range args {
		text := strings.ReplaceAll(ts.ReadFile(file), "\n", "\r\n")
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o666))
	}
}

// badFiles is the script command `badfiles`: it makes policies that no script can
// hold as text.
func badFiles(ts *testscript.TestScript, neg bool, args []string) {
	deep := 1_000_000
	for name, text := range map[string]string{
		"empty.hop":   "",
		"blank.yaml":  "\n  \n",
		"binary.hop":  "\x7fELF\x02\x01\x01\x00\x00\x00\x00",
		"latin1.yaml": "policy: caf\xe9\n",
		"big.hop":     strings.Repeat("# fifty megabytes of comments\n", 50<<20/30),
		"big.yaml":    strings.Repeat("# fifty megabytes of comments\n", 50<<20/30),
		"deep.hop":    "policy deep { default deny\nrule deep: deny if " + strings.Repeat("(", deep) + "protocol == tcp" + strings.Repeat(")", deep) + "\n}\n",
		"not.hop":     "policy deep { default deny\nrule deep: deny if " + strings.Repeat("not ", deep) + "protocol == tcp\n}\n",
		"deep.yaml":   "rules: " + strings.Repeat("[", deep) + strings.Repeat("]", deep) + "\n",
		"bomb.yaml":   aliasBomb(),
	} {
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o666))
	}
}

// aliasBomb is a YAML document of some hundred bytes and ten thousand million
// nodes.
func aliasBomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [deny, deny, deny, deny, deny, deny, deny, deny, deny, deny]\n")
	for i := range 9 {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	b.WriteString("rules: *a9\n")
	return b.String()
}

// badObjects is the script command `badobjects GOOD`: it spoils a good object.
func badObjects(ts *testscript.TestScript, neg bool, args []string) {
	good := []byte(ts.ReadFile(args[0]))
	otherMachine := slices.Clone(good)
	otherMachine[0x12] = 62 // e_machine: EM_X86_64
	ts.Check(os.WriteFile(ts.MkAbs("machine.o"), otherMachine, 0o666))
	ts.Check(os.WriteFile(ts.MkAbs("truncated.o"), good[:len(good)/2], 0o666))
	ts.Check(os.WriteFile(ts.MkAbs("header.o"), good[:20], 0o666))
	ts.Check(os.WriteFile(ts.MkAbs("empty.o"), nil, 0o666))
	ts.Check(os.WriteFile(ts.MkAbs("zeros.o"), make([]byte, 50<<20), 0o666))
}
