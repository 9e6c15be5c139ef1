package compiler_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// lints are the codes of Lint.
var lints = map[string]bool{
	"never-true": true, "always-true": true, "after-unconditional": true, "shadowed-rule": true, "shadowed-now": true,
	"redundant-rule": true, "partly-shadowed": true, "vacuous-assert": true, "vacuous-test": true, "vpn-by-type": true,
	"no-hard-permit": true, "allow-comment": true, "lint-limit": true,
}

// What `hopgate explain` shows is true: the bad example gets the code and nothing
// else, and the good one gets nothing.
func TestCodeExamples(t *testing.T) {
	var shown bytes.Buffer
	for _, code := range compiler.Codes() {
		require.NotEmpty(t, code.Explanation)
		if code.Name == "lint-limit" {
			continue // it takes a policy of thousands of rules: TestLintIsBounded
		}
		t.Run(code.Name, func(t *testing.T) {
			find := checkFindings
			switch code.Name {
			case "unbound-interface":
				find = compileFindings
			case "partly-shadowed":
				find = lintFindings(compiler.LintOptions{Pedantic: true})
			case "no-hard-permit":
				find = lintFindings(compiler.LintOptions{NoHardPermit: true})
			default:
				if lints[code.Name] {
					find = lintFindings(compiler.LintOptions{})
				}
			}
			found := find(t, code.Bad)
			require.NotEmpty(t, found)
			for _, d := range found {
				require.Equal(t, code.Name, d.Code, "%v", found)
				require.Equal(t, code.Severity, d.Severity)
			}
			require.NoError(t, found.Render(&shown, false))
			require.Empty(t, find(t, code.Good))
		})
	}
	golden(t, "testdata/codes.golden", shown.String())
}

// checkFindings checks a policy, or the first of an archive.
func checkFindings(t *testing.T, example string) lang.Diagnostics {
	files := fileSet{"example.hop": example}
	if strings.HasPrefix(example, "-- ") {
		files = archive(example)
	}
	policy, err := checkFiles(files, "example.hop", nil)
	var found lang.Diagnostics
	if !errors.As(err, &found) {
		found = policy.Warnings
	}
	return found
}

// lintFindings are those of check and lint.
func lintFindings(opts compiler.LintOptions) func(t *testing.T, example string) lang.Diagnostics {
	return func(t *testing.T, example string) lang.Diagnostics {
		policy := check(t, example)
		return append(policy.Warnings, compiler.Lint(policy, &opts)...)
	}
}

func compileFindings(t *testing.T, example string) (found lang.Diagnostics) {
	_, err := compiler.Compile(check(t, example), nil)
	errors.As(err, &found)
	return found
}
