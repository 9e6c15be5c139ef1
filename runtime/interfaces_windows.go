package runtime

import (
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/hopgate/hopgate/compiler"
)

// FindInterfaces gives the LUIDs of the interfaces that a policy names, for
// compiler.Options.Bind; 0 for one that is not there now.
func FindInterfaces(named []*compiler.NamedInterface) (map[string]uint64, error) {
	found := make(map[string]uint64, len(named))
	var problems []error
	for _, n := range named {
		luid, err := findInterface(n.Kind, n.Value)
		if err != nil {
			problems = append(problems, fmt.Errorf("interface `%s`: %s `%s`: %w", n.Name, n.Kind, n.Value, err))
		}
		found[n.Name] = luid
	}
	return found, errors.Join(problems...)
}

// findInterface asks the IP Helper API.
func findInterface(kind, value string) (uint64, error) {
	helper := windows.NewLazySystemDLL("iphlpapi.dll")
	var convert *windows.LazyProc
	var argument unsafe.Pointer
	switch kind {
	case "luid":
		return compiler.ParseLUID(value)
	case "guid":
		if value[0] != '{' {
			value = "{" + value + "}"
		}
		guid, err := windows.GUIDFromString(value)
		if err != nil {
			return 0, err
		}
		convert, argument = helper.NewProc("ConvertInterfaceGuidToLuid"), unsafe.Pointer(&guid)
	default:
		text, err := windows.UTF16PtrFromString(value)
		if err != nil {
			return 0, err
		}
		convert, argument = helper.NewProc("ConvertInterfaceAliasToLuid"), unsafe.Pointer(text)
		if kind == "name" {
			convert = helper.NewProc("ConvertInterfaceNameToLuidW")
		}
	}
	if err := convert.Find(); err != nil {
		return 0, err
	}
	var luid uint64
	code, _, _ := convert.Call(uintptr(argument), uintptr(unsafe.Pointer(&luid)))
	switch err := windows.Errno(code); err {
	case windows.ERROR_SUCCESS:
		return luid, nil
	case windows.ERROR_INVALID_PARAMETER, windows.ERROR_INVALID_NAME, windows.ERROR_FILE_NOT_FOUND, windows.ERROR_NOT_FOUND:
		return 0, nil // what the API says of interfaces it does not find
	default:
		return 0, err
	}
}

// InterfaceChanges is a subscription to changes of the host's interfaces.
type InterfaceChanges struct {
	handle windows.Handle
	stop   chan struct{}
	done   sync.WaitGroup
}

// interfacePoll is how often interfaces are looked at without a notification: a
// new alias alone brings none.
const interfacePoll = 5 * time.Second

// FollowInterfaces calls changed, one call after the other, whenever interfaces of
// the host may have changed, until Close.
func FollowInterfaces(changed func()) (*InterfaceChanges, error) {
	f := &InterfaceChanges{stop: make(chan struct{})}
	wake := make(chan struct{}, 1)
	notified := windows.NewCallback(func(_, _ unsafe.Pointer, _ uintptr) uintptr {
		select {
		case wake <- struct{}{}:
		default:
		}
		return 0
	})
	if err := windows.NotifyIpInterfaceChange(windows.AF_UNSPEC, notified, nil, false, &f.handle); err != nil {
		return nil, fmt.Errorf("following interfaces: %w", err)
	}
	f.done.Add(1)
	go func() {
		defer f.done.Done()
		poll := time.NewTicker(interfacePoll)
		defer poll.Stop()
		for {
			select {
			case <-f.stop:
				return
			case <-wake:
			case <-poll.C:
			}
			changed()
		}
	}()
	return f, nil
}

// Close ends the subscription; changed is not called any more.
func (f *InterfaceChanges) Close() error {
	err := windows.CancelMibChangeNotify2(f.handle)
	close(f.stop)
	f.done.Wait()
	return err
}
