// Package cli is the hopgate command, importable: Run takes the arguments and the
// three streams and returns the exit code. Each command has a file of its own.
package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/lang"
)

// Exit codes of every command.
const (
	ExitFine  = 0
	ExitNo    = 1 // the policy or the host says no
	ExitUsage = 2 // the command line is wrong
)

// Run executes one command line, without the program's name, and returns the exit
// code.
func Run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &console{in: stdin, out: bufio.NewWriter(stdout), stdout: stdout, err: stderr, colour: colourful(stderr)}
	root := c.rootCommand()
	root.SetArgs(append([]string{}, args...))
	cmd, err := root.ExecuteC()
	if flushed := c.out.Flush(); err == nil && flushed != nil {
		err = no{fmt.Errorf("standard output: %w", flushed)}
	}
	if err == nil {
		return ExitFine
	}
	if said := new(no); errors.As(err, said) {
		c.report(said.error)
		return ExitNo
	}
	if file := new(fs.PathError); errors.As(err, &file) {
		c.report(file) // standard output, of a command that is cobra's own
		return ExitNo
	}
	fmt.Fprintf(stderr, "hopgate: %v\nSee `%s --help`.\n", err, cmd.CommandPath())
	return ExitUsage
}

// console is where a command reads and writes.
type console struct {
	in     io.Reader
	out    *bufio.Writer
	stdout io.Writer // that out writes to
	err    io.Writer
	colour bool // of what goes to err
}

// no is an error of a command that was understood: exit code 1. Every other error
// is one of the command line.
type no struct{ error }

// errSaid is a no whose reasons are on standard output already.
var errSaid = errors.New("said already")

// run adapts a command's function to cobra: what it returns is a no, unless it is
// a misuse.
func run(f func(args []string) error) func(*cobra.Command, []string) error {
	return func(_ *cobra.Command, args []string) error {
		err := f(args)
		if err == nil || errors.As(err, new(misuse)) {
			return err
		}
		return no{err}
	}
}

// misuse is an error of the command line that a command finds itself.
type misuse struct{ error }

// report prints an error of a command to standard error.
func (c *console) report(err error) {
	var findings lang.Diagnostics
	file, ofFile := err.(*fs.PathError) // one that is wrapped says more
	switch {
	case errors.Is(err, errSaid):
	case errors.As(err, &findings):
		c.print(findings)
	case ofFile:
		fmt.Fprintf(c.err, "%s: %v\n", file.Path, file.Err)
	default:
		fmt.Fprintf(c.err, "hopgate: %v\n", err)
	}
}

// colourful reports whether w is a terminal that takes colours.
func colourful(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (c *console) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "hopgate",
		Short:         "Compile connection-authorization policies to eBPF, test them and run them",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("which command?")
		},
	}
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.AddCommand(
		c.checkCommand(),
		c.testCommand(),
		c.proveCommand(),
		c.diffCommand(),
		c.evalCommand(),
		c.simulateCommand(),
		c.compileCommand(),
		c.inspectCommand(),
		c.verifyCommand(),
		c.policyCommand(),
		c.runCommand(),
		c.statusCommand(),
		c.unpinCommand(),
		c.setCommand(),
		c.fmtCommand(),
		c.explainCommand(),
		c.schemaCommand(),
	)
	return root
}

// unknownCommand names the command that was meant, if one is close.
func unknownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	root.SuggestionsMinimumDistance = 2
	hint := ""
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf(", did you mean `%s`?", strings.Join(near, "` or `"))
	}
	return fmt.Errorf("unknown command `%s`%s", args[0], hint)
}

// version is the module version the binary was built from, or "devel".
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
