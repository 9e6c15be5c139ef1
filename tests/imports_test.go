package tests

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// layers is the order of the pipeline: a package imports only what stands before
// it. Examples and tests come last; they see everything.
var layers = []string{"lang", "compiler", "codegen", "runtime/vm", "runtime", "cmd/hopgate/cli", "cmd/hopgate", "examples", "tests", ".ci"}

// Data flows one way through the packages, so imports do too.
func TestImportsPointBackwards(t *testing.T) {
	const module = "github.com/hopgate/hopgate/"
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		importer, err := filepath.Rel("..", filepath.Dir(path))
		require.NoError(t, err)
		importerLayer := layerOf(filepath.ToSlash(importer))
		if importerLayer < 0 {
			t.Errorf("%s: package %s has no place in the order of layers", path, importer)
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			imported, ours := strings.CutPrefix(name, module)
			if ours && layerOf(imported) > importerLayer {
				t.Errorf("%s: %s imports %s, which stands behind it", path, importer, imported)
			}
		}
		return nil
	})
	require.NoError(t, err)
}

// layerOf finds the layer of a package: the longest entry that is the package or
// a folder above it, or -1.
func layerOf(pkg string) int {
	best := -1
	for i, layer := range layers {
		if (pkg == layer || strings.HasPrefix(pkg, layer+"/")) && (best < 0 || len(layer) > len(layers[best])) {
			best = i
		}
	}
	return best
}

func TestLayerOf(t *testing.T) {
	require.Equal(t, slices.Index(layers, "runtime/vm"), layerOf("runtime/vm"))
	require.Equal(t, slices.Index(layers, "runtime"), layerOf("runtime/internal/netns"))
	require.Equal(t, slices.Index(layers, "examples"), layerOf("examples/goapi"))
	require.Equal(t, -1, layerOf("langx"))
}
