package windows

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows"
)

// fake is the stand-in for ebpfapi.dll (testdata/ebpfapi.c). cilium/ebpf finds it
// by its name, because it is loaded already.
type fake struct{ dll *windows.DLL }

// Kinds of objects.
const (
	fakeFiles = iota
	fakeMaps
	fakeLinks
	fakePrograms
)

// newFake loads the stand-in with nothing recorded.
func newFake(t *testing.T) *fake {
	dll, err := windows.LoadDLL(`C:\hopgate\ebpfapi.dll`)
	if err != nil && os.Getenv("CI") == "" {
		t.Skipf("our stand-in for ebpfapi.dll is not there (run with .ci/wine): %v", err)
	}
	require.NoError(t, err)
	f := &fake{dll}
	f.reset(0, false)
	return f
}

func (f *fake) call(name string, args ...uintptr) uintptr {
	r, _, _ := f.dll.MustFindProc(name).Call(args...)
	return r
}

// reset forgets what is recorded. The call of number fail from now on fails; old
// has no attach types of connect authorization.
func (f *fake) reset(fail int, old bool) {
	f.call("fake_reset", uintptr(fail), uintptr(*(*byte)(unsafe.Pointer(&old))))
}

// kill ends what the process can do at the call of a number from now on.
func (f *fake) kill(at int) { f.call("fake_kill", uintptr(at)) }

// refuse makes loads of instructions fail with an errno and what the verifier says.
func (f *fake) refuse(errno int, log string) {
	text := append([]byte(log), 0)
	f.call("fake_refuse", uintptr(errno), uintptr(unsafe.Pointer(&text[0])))
	runtime.KeepAlive(text)
}

// linked counts the links at an attach type of a number.
func (f *fake) linked(attachType int) int { return int(f.call("fake_linked", uintptr(attachType))) }

// calls gives what was recorded since the last reset, one call a line.
func (f *fake) calls() []string {
	at := f.call("fake_calls")
	return strings.Split(strings.TrimSpace(windows.BytePtrToString(*(**byte)(unsafe.Pointer(&at)))), "\n")
}

// recorded gives the calls that start with one of the words.
func (f *fake) recorded(words ...string) []string {
	var found []string
	for _, c := range f.calls() {
		for _, w := range words {
			if strings.HasPrefix(c, w) {
				found = append(found, c)
			}
		}
	}
	return found
}

// changing are the numbers of the calls since the last reset that change objects.
func (f *fake) changing(t *testing.T) []int {
	var numbers []int
	counted := 0
	for _, c := range f.calls() {
		if strings.HasPrefix(c, "  ") || strings.HasPrefix(c, "close ") || c == "ring_unmap" {
			continue // which do not fail
		}
		counted++
		for _, w := range []string{"pin ", "unpin ", "map_create ", "map_update ", "prog_load ", "attach instructions"} {
			if strings.HasPrefix(c, w) {
				numbers = append(numbers, counted)
			}
		}
	}
	require.Equal(t, f.count(), counted)
	return numbers
}

func (f *fake) count() int { return int(f.call("fake_count")) }

func (f *fake) objects(kind int) int { return int(f.call("fake_objects", uintptr(kind))) }

// event writes to the newest ring buffer.
func (f *fake) event(record []byte) {
	f.call("fake_event", uintptr(unsafe.Pointer(&record[0])), uintptr(len(record)))
	runtime.KeepAlive(record)
}

// clean checks that nothing is left.
func (f *fake) clean(t *testing.T) {
	t.Helper()
	require.Zero(t, f.objects(fakeFiles), "files open:\n%s", strings.Join(f.calls(), "\n"))
	for kind, name := range map[int]string{fakeMaps: "maps", fakeLinks: "links", fakePrograms: "programs"} {
		require.Zero(t, f.objects(kind), "%s left:\n%s", name, strings.Join(f.calls(), "\n"))
	}
}

// closesOnce checks that nothing was closed that is not open.
func (f *fake) closesOnce(t *testing.T) {
	t.Helper()
	require.NotContains(t, f.calls(), "close of what is not open ")
}

// failed is the call that was made to fail.
func (f *fake) failed() string {
	calls := f.calls()
	for i, c := range calls {
		if c == "  FAILS" {
			return calls[i-1]
		}
	}
	return "none"
}
