package vm

import "io/fs"

// Errno is an error number of the Linux UAPI (asm-generic/errno-base.h), the same
// on every host. Helpers return it to programs as a negative number.
type Errno int32

const (
	EPERM  Errno = 1
	ENOENT Errno = 2
	E2BIG  Errno = 7
	EAGAIN Errno = 11
	EBUSY  Errno = 16
	EEXIST Errno = 17
	EINVAL Errno = 22
	ENOSPC Errno = 28
	ERANGE Errno = 34
)

func (e Errno) Error() string {
	switch e {
	case EPERM:
		return "not permitted"
	case ENOENT:
		return "no such element"
	case E2BIG:
		return "map is full or key is beyond its end"
	case EAGAIN:
		return "no room at the moment"
	case EBUSY:
		return "busy"
	case EEXIST:
		return "element exists"
	case EINVAL:
		return "invalid argument"
	case ENOSPC:
		return "no space left"
	case ERANGE:
		return "out of range"
	}
	return "unknown error number"
}

// Is lets ENOENT and EEXIST match fs.ErrNotExist and fs.ErrExist.
func (e Errno) Is(target error) bool {
	return e == ENOENT && target == fs.ErrNotExist || e == EEXIST && target == fs.ErrExist
}

// result is what a helper puts in r0: 0, or the negative error number.
func (e Errno) result() uint64 { return uint64(-int64(e)) }
