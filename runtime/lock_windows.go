package runtime

import (
	"fmt"
	goruntime "runtime"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/windows"
)

// lockWait is how long lockName waits, in milliseconds: any user can make a mutex of
// the name, and keep it.
const lockWait = 10_000

// lockPins keeps other processes from changing what is pinned under a path, and puts in
// order what one left that was killed while it did so; "" is none. Who locks must unlock on
// the same goroutine, on which it may lock again.
func lockPins(dir string) (unlock func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	if unlock, err = lockName(dir); err != nil {
		return nil, err
	}
	if err := settlePins(dir); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// lockName takes what has a name for this process alone.
func lockName(what string) (unlock func(), err error) {
	name, err := windows.UTF16PtrFromString(`Global\hopgate ` + strings.ReplaceAll(what, `\`, "/"))
	if err != nil {
		return nil, err
	}
	mutex, err := windows.CreateMutex(nil, false, name)
	if mutex == 0 { // the error of a mutex that was there already is none
		return nil, fmt.Errorf("locking %s: %w", what, err)
	}
	goruntime.LockOSThread() // which the mutex belongs to
	if state, err := windows.WaitForSingleObject(mutex, lockWait); err != nil || state == uint32(windows.WAIT_TIMEOUT) {
		goruntime.UnlockOSThread()
		_ = windows.CloseHandle(mutex)
		return nil, fmt.Errorf("another process has locked %s for %d seconds", what, lockWait/1000)
	}
	return func() {
		_ = windows.ReleaseMutex(mutex)
		_ = windows.CloseHandle(mutex)
		goruntime.UnlockOSThread()
	}, nil
}

const arrayType = ebpf.WindowsArray
