package examples

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/cmd/hopgate/cli"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// hopgate runs a command line and fails the test unless it exits with 0.
func hopgate(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := cli.Run(args, strings.NewReader(""), &stdout, &stderr)
	require.Zero(t, code, "hopgate %s\n%s%s", strings.Join(args, " "), &stdout, &stderr)
	return stdout.String() + stderr.String()
}

func policies(t *testing.T) []string {
	hop, err := filepath.Glob("*.hop")
	require.NoError(t, err)
	yaml, err := filepath.Glob("*.yaml")
	require.NoError(t, err)
	require.Len(t, yaml, len(hop), "each policy stands here in both spellings")
	return append(hop, yaml...)
}

func TestPoliciesAreFlawlessAndPassTheirTests(t *testing.T) {
	for _, name := range policies(t) {
		t.Run(name, func(t *testing.T) {
			t.Chdir("..")
			require.Empty(t, hopgate(t, "check", "--strict", "examples/"+name))
			require.Empty(t, hopgate(t, "fmt", "-l", "examples/"+name))
			require.Contains(t, hopgate(t, "test", "--threshold", "95", "examples/"+name), "tests passed")
		})
	}
}

// Each scenario's comment has the command that plays it.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("scenarios/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			_, rest, found := strings.Cut(string(text), "#   hopgate simulate ")
			require.True(t, found, "no command in the comment")
			command, _, _ := strings.Cut(rest, "\n")
			t.Chdir("..")
			hopgate(t, append([]string{"simulate"}, strings.Fields(command)...)...)
		})
	}
}

// Policies with equal diagrams and rules decide the same on every connection.
func TestBothSpellingsMeanTheSame(t *testing.T) {
	files, err := filepath.Glob("*.hop")
	require.NoError(t, err)
	for _, name := range files {
		t.Run(name, func(t *testing.T) {
			hop := load(t, name)
			yaml := load(t, strings.TrimSuffix(name, ".hop")+".yaml")
			require.Equal(t, outline(hop), outline(yaml))

			hopDiagram, err := compiler.Compile(hop, nil)
			require.NoError(t, err)
			yamlDiagram, err := compiler.Compile(yaml, nil)
			require.NoError(t, err)
			require.Equal(t, hopDiagram.IPv4, yamlDiagram.IPv4)
			require.Equal(t, hopDiagram.IPv6, yamlDiagram.IPv6)
		})
	}
}

func load(t *testing.T, name string) *compiler.Policy {
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	file, err := lang.Parse(name, text)
	require.NoError(t, err)
	policy, err := compiler.Check(file, &compiler.Options{BindAll: true})
	require.NoError(t, err)
	return policy
}

// outline is what a diagram does not carry.
func outline(p *compiler.Policy) any {
	type rule struct {
		id      string
		verdict lang.Verdict
		log     bool
	}
	type test struct {
		request compiler.Request
		expect  lang.Verdict
		by      string
	}
	var rules []rule
	for _, r := range p.Rules {
		rules = append(rules, rule{r.ID, r.Verdict, r.Log})
	}
	var asserts []string
	for _, a := range p.Asserts {
		asserts = append(asserts, a.ID)
	}
	var tests []test
	for _, t := range p.Tests {
		tests = append(tests, test{t.Request, t.Expect, t.By})
	}
	return []any{p.Name, p.Hook, p.Default, p.FailOpen, rules, asserts, tests}
}
