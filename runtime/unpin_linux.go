package runtime

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hopgate/hopgate/codegen"
)

// Unpin ends what is pinned in a directory; what a running process holds stays until
// that ends. The error is fs.ErrNotExist if nothing is pinned there.
func Unpin(dir string) error {
	unlock, err := lockPins(dir)
	if err != nil {
		return err
	}
	defer unlock()
	var problems []error
	for _, name := range slices.Concat(stageOrder, []string{programMap, codegen.CountersMap, codegen.StateMap, codegen.TableMap, codegen.SetsMap, codegen.SocketsMap, codegen.PeersMap, codegen.DevicesMap}) {
		for _, path := range []string{filepath.Join(dir, name), filepath.Join(dir, name) + nextPin} {
			if err := removePin(path); !errors.Is(err, fs.ErrNotExist) {
				problems = append(problems, err)
			}
		}
	}
	return errors.Join(append(problems, os.Remove(dir))...)
}
