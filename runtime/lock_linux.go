package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// lockPins keeps other processes from changing what is pinned in a directory; "" is
// none.
func lockPins(dir string) (unlock func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	for {
		f, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("nothing is pinned in %s: %w", dir, fs.ErrNotExist)
		}
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			_ = f.Close()
			return nil, &fs.PathError{Op: "flock", Path: dir, Err: err}
		}
		// Meanwhile the directory may have been removed and another one made.
		locked, _ := f.Stat()
		present, _ := os.Stat(dir)
		if os.SameFile(locked, present) {
			return func() { _ = f.Close() }, nil
		}
		_ = f.Close()
	}
}

const arrayType = ebpf.Array

func removePin(path string) error { return os.Remove(path) }

// nextPin ends the path of a map that is about to take another's place.
const nextPin = "_next"

// replacePin pins a map in the place of the one at a path, in one step: who is killed
// meanwhile leaves one of them.
func replacePin(m *ebpf.Map, path string) error {
	if err := removePin(path + nextPin); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := m.Pin(path + nextPin); err != nil {
		return err
	}
	return os.Rename(path+nextPin, path)
}
