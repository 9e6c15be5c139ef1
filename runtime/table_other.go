//go:build !linux && !windows

package runtime

import "github.com/hopgate/hopgate/codegen"

// LoadPinnedTable puts a policy in force in the engine that is pinned in a directory.
func LoadPinnedTable(dir string, t *codegen.Table) error {
	maps, err := OpenTables(dir)
	if err != nil {
		return err
	}
	defer maps.Close()
	return LoadTable(maps, t, codegen.TableLoading{})
}
