//go:build !linux && !windows

package runtime

import (
	"fmt"

	"github.com/hopgate/hopgate/codegen"
)

// Kernel is a program in force on this host.
type Kernel struct{}

// AttachKernel puts a program of target linux in force; there is no such kernel
// here.
func AttachKernel(*codegen.Program, *KernelOptions) (*Kernel, error) { return nil, errNoLinux }

var errNoLinux = fmt.Errorf("%w: programs for target linux need a Linux host", ErrKernel)

// Update does nothing here.
func (*Kernel) Update(*codegen.Program) error { return errNoLinux }

// Status does nothing here.
func (*Kernel) Status() (*Status, error) { return nil, errNoLinux }

// Close does nothing here.
func (*Kernel) Close() error { return errNoLinux }

// PinnedStatus does nothing here.
func PinnedStatus(string) (*Status, error) { return nil, errNoLinux }

// Unpin does nothing here.
func Unpin(string) error { return errNoLinux }
