package lang_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

var extensions = [...]string{lang.DSL: ".hop", lang.YAML: ".yaml"}

// parsed parses a text that has no errors.
func parsed(t testing.TB, syntax lang.Syntax, text []byte) *lang.File {
	t.Helper()
	file, err := lang.Parse("x"+extensions[syntax], text)
	if err != nil {
		require.NoError(t, err, string(text))
	}
	return file
}

// policies gives the readable policies of testdata and of the examples.
func policies(t testing.TB) map[string]*lang.File {
	files := map[string]*lang.File{}
	paths := glob(t, "policies/*.hop", "policies/*.yaml")
	examples, err := filepath.Glob("../examples/*")
	require.NoError(t, err)
	for _, path := range append(paths, examples...) {
		src, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(src), "policy") || strings.Contains(string(src), "steps:") {
			continue
		}
		if file, err := lang.Parse(path, src); file != nil {
			require.NoError(t, err)
			files[path] = file
		}
	}
	return files
}

// TestFormat holds what formatting makes of testdata's policies, in both syntaxes,
// and that formatting that again changes nothing.
func TestFormat(t *testing.T) {
	for path, file := range policies(t) {
		for to, ext := range extensions {
			name := strings.ReplaceAll(filepath.Base(path), ".", "-") + ext
			t.Run(name, func(t *testing.T) {
				got := lang.Format(file, lang.Syntax(to))
				if strings.HasPrefix(path, "testdata") {
					golden(t, filepath.Join("testdata/formatted", name), got)
				}
				again := parsed(t, lang.Syntax(to), got)
				sameText(t, string(got), string(lang.Format(again, lang.Syntax(to))))
				require.Equal(t, countComments(file.Source.Text), countComments(got), "comments are lost")
			})
		}
	}
}

// countComments counts the lines with a comment; no text here has another `#`.
func countComments(text []byte) int { return strings.Count(string(text), "#") }
