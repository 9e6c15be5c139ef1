package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	goruntime "runtime"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/windows"
)

// lockWait is how long lockPins waits, in milliseconds: any user can make a mutex of
// the name, and keep it.
const lockWait = 10_000

// lockPins keeps other processes from changing what is pinned under a path; "" is
// none. Who locks must unlock on the same goroutine.
func lockPins(dir string) (unlock func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	name, err := windows.UTF16PtrFromString(`Global\hopgate ` + strings.ReplaceAll(dir, `\`, "/"))
	if err != nil {
		return nil, err
	}
	mutex, err := windows.CreateMutex(nil, false, name)
	if mutex == 0 { // the error of a mutex that was there already is none
		return nil, fmt.Errorf("locking pins under %s: %w", dir, err)
	}
	goruntime.LockOSThread() // which the mutex belongs to
	if state, err := windows.WaitForSingleObject(mutex, lockWait); err != nil || state == uint32(windows.WAIT_TIMEOUT) {
		goruntime.UnlockOSThread()
		_ = windows.CloseHandle(mutex)
		return nil, fmt.Errorf("another process has locked the pins under %s for %d seconds", dir, lockWait/1000)
	}
	return func() {
		_ = windows.ReleaseMutex(mutex)
		_ = windows.CloseHandle(mutex)
		goruntime.UnlockOSThread()
	}, nil
}

const arrayType = ebpf.WindowsArray

func removePin(path string) error {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Unpin()
}

// replacePin pins a map in the place of the one at a path. eBPF for Windows cannot do so
// in one step.
func replacePin(m *ebpf.Map, path string) error {
	if err := removePin(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return m.Pin(path)
}
