//go:build linux

package linux

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
)

// Other people's loaders take the objects that compile writes: bpftool, and with it
// libbpf, and cilium/ebpf on its own.
func TestOthersLoadTheObject(t *testing.T) {
	policy := check(t, `policy all {
  default deny
  set bad dynamic = { 10.9.0.0/16, 2001:db8:9::/48 }
  interface vpn = name "wg0"
  rule bad: deny log if remote_address in $bad
  rule corp: allow if remote_address == 10.0.0.0/8 and next_hop == $vpn
  rule wifi: allow audit if interface_type == wifi and remote_port == 443/tcp
}`, nil)
	engine, err := codegen.GenerateEngine(codegen.Linux)
	require.NoError(t, err)
	for name, program := range map[string]*codegen.Program{
		"policy":           compile(t, policy, codegen.Options{}),
		"without counters": compile(t, policy, codegen.Options{NoCounters: true}),
		"device map":       compile(t, policy, codegen.Options{DeviceMap: true}),
		"replies":          compile(t, policy, codegen.Options{LeaveReplies: true}),
		"engine":           engine,
	} {
		t.Run(name, func(t *testing.T) {
			object := filepath.Join(t.TempDir(), "policy.o")
			f, err := os.Create(object)
			require.NoError(t, err)
			require.NoError(t, program.WriteELF(f))
			require.NoError(t, f.Close())
			t.Run("cilium", func(t *testing.T) {
				collection, err := ebpf.LoadCollection(object)
				require.NoError(t, err)
				defer collection.Close()
				require.Len(t, collection.Programs, len(program.Functions))
				require.Len(t, collection.Maps, len(program.Maps))
			})
			t.Run("bpftool", func(t *testing.T) {
				if _, err := exec.LookPath("bpftool"); err != nil {
					require.Empty(t, os.Getenv("CI"), "CI has no bpftool")
					t.Skip("no bpftool here")
				}
				out, err := exec.Command("bpftool", "prog", "loadall", object, filepath.Join(bpffs(t), "policy")).CombinedOutput()
				require.NoError(t, err, string(out))
			})
		})
	}
}
