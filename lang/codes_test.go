package lang_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

// TestCodes parses the examples: the bad one yields the code, the good one
// nothing.
func TestCodes(t *testing.T) {
	var names []string
	var shown bytes.Buffer
	for _, c := range lang.Codes() {
		t.Run(c.Name, func(t *testing.T) {
			names = append(names, c.Name)
			ds := found(t, "x"+extensions[c.Syntax], c.Bad)
			require.Len(t, ds, 1, "%v", ds)
			require.Equal(t, c.Name, ds[0].Code)
			require.NoError(t, ds.Render(&shown, false))
			require.Equal(t, c.Severity, ds[0].Severity)
			parsed(t, c.Syntax, []byte(c.Good))
			require.NotEmpty(t, c.Title)
			require.NotEmpty(t, c.Explanation)
			require.False(t, strings.HasSuffix(c.Title, ".") || strings.HasSuffix(c.Explanation, "\n"))
		})
	}
	require.True(t, slices.IsSorted(names))
	require.Equal(t, declaredCodes(t), names)
	golden(t, "testdata/codes.golden", shown.Bytes())
}

// declaredCodes reads the constants that the package reports with.
func declaredCodes(t *testing.T) []string {
	src, err := os.ReadFile("codes.go")
	require.NoError(t, err)
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", src, 0)
	require.NoError(t, err)
	var codes []string
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, "code") {
			code, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			codes = append(codes, code)
		}
		return true
	})
	return codes
}
