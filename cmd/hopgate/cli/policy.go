package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// bindings is the value of --bind: LUIDs of named interfaces, `NAME=LUID,...`.
type bindings map[string]uint64

func (b bindings) Type() string { return "NAME=LUID" }

func (b bindings) String() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(b)) {
		pairs = append(pairs, fmt.Sprintf("%s=%#x", name, b[name]))
	}
	return strings.Join(pairs, ",")
}

func (b bindings) Set(text string) error {
	for pair := range strings.SplitSeq(text, ",") {
		name, luid, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return errors.New("want NAME=LUID, such as vpn=0x0035008000000000")
		}
		if _, twice := b[name]; twice {
			return fmt.Errorf("`%s` is bound already", name)
		}
		n, err := compiler.ParseLUID(luid)
		if err != nil {
			return err
		}
		b[name] = n
	}
	return nil
}

// bindFlag adds --bind to a command that reads policies.
func bindFlag(cmd *cobra.Command) bindings {
	b := bindings{}
	cmd.Flags().Var(b, "bind", "bind the interface NAME of the policy to a `LUID` (0x..., ethernet_32773), 0x0 for absent")
	return b
}

// check reports a binding of a name that none of the policies has.
func (b bindings) check(policies ...*compiler.Policy) error {
	for _, name := range slices.Sorted(maps.Keys(b)) {
		has := func(i *compiler.NamedInterface) bool { return i.Name == name }
		if !slices.ContainsFunc(policies, func(p *compiler.Policy) bool { return slices.ContainsFunc(p.Interfaces, has) }) {
			return misuse{fmt.Errorf("--bind: no policy has an interface `%s`", name)}
		}
	}
	return nil
}

// load reads and checks a policy. Its errors are lang.Diagnostics.
func load(path string, opts *compiler.Options) (*compiler.Policy, error) {
	file, found, err := parse(path, lang.Parse)
	if file == nil {
		return nil, err
	}
	return checkFile(file, found, opts)
}

// testsSuffix ends the name of a file of tests and asserts; what stands before it
// is the name of the policy beside it, without extension.
const testsSuffix = "_test.yaml"

// policyExtensions end the names of policies.
var policyExtensions = []string{".hop", ".yaml", ".yml"}

// loadWithTests is load with the tests and asserts of the file beside the policy,
// if there is one.
func loadWithTests(path string, opts *compiler.Options) (*compiler.Policy, error) {
	file, found, err := parse(path, lang.Parse)
	if file == nil {
		return nil, err
	}
	beside := withoutExtension(path) + testsSuffix
	if _, err := os.Stat(beside); err == nil {
		tests, more, err := parse(beside, lang.ParseTests)
		if tests == nil {
			return nil, err
		}
		found = append(found, more...)
		file.Tests = append(file.Tests, tests.Tests...)
		file.Asserts = append(file.Asserts, tests.Asserts...)
	}
	return checkFile(file, found, opts)
}

// policiesOf replaces each file of tests by the policies it stands beside, and
// drops repeats.
func policiesOf(paths []string) ([]string, error) {
	var all []string
	add := func(path string) {
		if !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	for _, path := range paths {
		name, isTests := strings.CutSuffix(path, testsSuffix)
		if !isTests {
			add(path)
			continue
		}
		found := false
		for _, extension := range policyExtensions {
			if _, err := os.Stat(name + extension); err == nil {
				add(name + extension)
				found = true
			}
		}
		if !found {
			return nil, fmt.Errorf("%s: there is no policy %s.hop, .yaml or .yml for these tests", path, name)
		}
	}
	return all, nil
}

// parse reads a file with one of lang's parsers. A nil tree comes with an error;
// else the findings may yet hold errors.
func parse(path string, with func(string, []byte) (*lang.File, error)) (*lang.File, lang.Diagnostics, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	file, err := with(path, text)
	var found lang.Diagnostics
	errors.As(err, &found)
	return file, found, err
}

// checkFile checks a tree, of which something was found already.
func checkFile(file *lang.File, found lang.Diagnostics, opts *compiler.Options) (*compiler.Policy, error) {
	policy, err := compiler.Check(file, opts)
	var more lang.Diagnostics
	if errors.As(err, &more) {
		found = append(found, more...)
	}
	if err := found.Sort().Err(); err != nil {
		return nil, err
	}
	return policy, nil
}

// print renders findings on standard error.
func (c *console) print(findings lang.Diagnostics) {
	_ = findings.Render(c.err, c.colour) // there is nowhere left to say that this failed
}

// policyFiles completes the names of policy files.
func policyFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"hop", "yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// withoutExtension is the path of a policy without .hop, .yaml or .yml.
func withoutExtension(path string) string {
	return strings.TrimSuffix(path, filepath.Ext(path))
}
