package tests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// Objects of real policies are the same each time they are made, read back as they
// were, and give the tools that people read objects with nothing to complain of.
func TestObjectsOfExamples(t *testing.T) {
	files, err := filepath.Glob("../examples/*.hop")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			made := func() (*codegen.Program, []byte) {
				d, err := compiler.Compile(check(t, filepath.Base(file), string(text)), nil)
				require.NoError(t, err)
				p, err := codegen.Generate(d, nil)
				require.NoError(t, err)
				var object bytes.Buffer
				require.NoError(t, p.WriteELF(&object))
				return p, object.Bytes()
			}
			p, object := made()
			_, again := made()
			require.Equal(t, object, again)

			read, err := codegen.ReadObject(file, object)
			require.NoError(t, err)
			require.Equal(t, p.Describe(), read.Describe())
			require.Equal(t, listing(t, p), listing(t, read))
			var written bytes.Buffer
			require.NoError(t, read.WriteELF(&written))
			require.Equal(t, object, written.Bytes())

			_, err = ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
			require.NoError(t, err)
			path := filepath.Join(t.TempDir(), "policy.o")
			require.NoError(t, os.WriteFile(path, object, 0o600))
			quiet(t, "llvm-objdump", "-d", "-r", path)
			quiet(t, "llvm-readelf", "-a", path)
			quiet(t, "bpftool", "btf", "dump", "file", path)
		})
	}
}

func listing(t *testing.T, p *codegen.Program) string {
	var b bytes.Buffer
	require.NoError(t, p.WriteASM(&b))
	return b.String()
}

// quiet runs a tool that must exit 0 and print no complaint.
func quiet(t *testing.T, command ...string) {
	if _, err := exec.LookPath(command[0]); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	var complaint bytes.Buffer
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = &complaint
	require.NoError(t, cmd.Run(), complaint.String())
	require.Empty(t, complaint.String())
}
