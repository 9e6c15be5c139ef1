//go:build linux

package linux

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ring is an io_uring of one entry (linux/io_uring.h).
type ring struct {
	t             *testing.T
	fd            int
	params        ringParams
	queues, entry []byte
	name          unix.RawSockaddrInet4
	payload       byte
	vector        unix.Iovec
	message       unix.Msghdr
}

type ringParams struct {
	SQEntries, CQEntries, Flags, ThreadCPU, ThreadIdle, Features, WQ uint32
	_                                                                [3]uint32
	SQ                                                               struct {
		Head, Tail, Mask, Entries, Flags, Dropped, Array, _ uint32
		_                                                   uint64
	}
	CQ struct {
		Head, Tail, Mask, Entries, Overflow, CQEs, Flags, _ uint32
		_                                                   uint64
	}
}

const (
	setupSQPoll = 1 << 1 // IORING_SETUP_SQPOLL: a thread of the kernel takes entries
	wakeUp      = 1 << 1 // IORING_ENTER_SQ_WAKEUP
	opSendmsg   = 9      // IORING_OP_SENDMSG
	opConnect   = 16     // IORING_OP_CONNECT
)

func newRing(t *testing.T, flags uint32) *ring {
	r := &ring{t: t, params: ringParams{Flags: flags, ThreadIdle: 1000}}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&r.params)), 0)
	require.Zero(t, errno)
	r.fd = int(fd)
	t.Cleanup(func() { _ = unix.Close(r.fd) })
	var err error
	r.queues, err = unix.Mmap(r.fd, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	require.NoError(t, err)
	r.entry, err = unix.Mmap(r.fd, 0x10000000, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	require.NoError(t, err)
	return r
}

func (r *ring) word(at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.queues[at])) }

func (r *ring) address(to netip.AddrPort) {
	r.name = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: htons(to.Port()), Addr: to.Addr().As4()}
}

func (r *ring) connect(fd int, to netip.AddrPort) error {
	r.address(to)
	return r.run(opConnect, fd, unsafe.Pointer(&r.name), unix.SizeofSockaddrInet4, 0)
}

func (r *ring) sendmsg(fd int, to netip.AddrPort) error {
	r.address(to)
	r.vector = unix.Iovec{Base: &r.payload, Len: 1}
	r.message = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&r.name)), Namelen: unix.SizeofSockaddrInet4, Iov: &r.vector, Iovlen: 1}
	return r.run(opSendmsg, fd, unsafe.Pointer(&r.message), 0, 1)
}

// run submits an entry and waits for its end, half a second at most.
func (r *ring) run(op byte, fd int, address unsafe.Pointer, offset uint64, length uint32) error {
	r.entry[0] = op
	*(*int32)(unsafe.Pointer(&r.entry[4])) = int32(fd)
	*(*uint64)(unsafe.Pointer(&r.entry[8])) = offset
	*(*unsafe.Pointer)(unsafe.Pointer(&r.entry[16])) = address
	*(*uint32)(unsafe.Pointer(&r.entry[24])) = length
	*r.word(r.params.SQ.Array) = 0
	atomic.StoreUint32(r.word(r.params.SQ.Tail), 1)
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, 0, uintptr(r.params.Flags&wakeUp), 0, 0)
	require.Zero(r.t, errno)
	for end := time.Now().Add(500 * time.Millisecond); atomic.LoadUint32(r.word(r.params.CQ.Tail)) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return unix.ETIMEDOUT
		}
	}
	if result := int32(*r.word(r.params.CQ.CQEs + 8)); result < 0 {
		return unix.Errno(-result)
	}
	return nil
}
