package windows

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows"

	"github.com/hopgate/hopgate/codegen"
)

// driver writes what the stand-in takes for a driver with the programs and maps of
// a program.
func driver(t *testing.T, p *codegen.Program) string {
	var text strings.Builder
	for _, m := range p.Maps {
		fmt.Fprintf(&text, "map %s %d %d %d %d\n", m.Name, uint32(m.Type)&0xffff, m.KeySize, m.ValueSize, m.MaxEntries)
	}
	for i := range p.Functions {
		fmt.Fprintf(&text, "program %s\n", p.Functions[i].Name)
	}
	dir, err := os.MkdirTemp("", "a driver") // t.TempDir wants it removed in a way that Wine 8 does not know
	require.NoError(t, err)
	path := filepath.Join(dir, "corp.sys")
	require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o666))
	t.Cleanup(func() {
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.Remove(dir), "copies are left in it")
	})
	return path
}

var pins = []string{"connect_authorization4", "connect_authorization6", "hopgate_program", codegen.CountersMap, codegen.TableMap, codegen.SetsMap, codegen.EventsMap}

// unpin removes what is pinned.
func unpin(t *testing.T, f *fake) {
	t.Helper()
	unpin := f.dll.MustFindProc("ebpf_object_unpin")
	for _, name := range pins {
		path, err := windows.BytePtrFromString("hopgate/corp/" + name)
		require.NoError(t, err)
		_, _, _ = unpin.Call(uintptr(unsafe.Pointer(path)))
	}
}
