// The layout of <linux/tee.h> that this addon was written against, checked when it is compiled:
// the same numbers on x86_64 and arm64. A kernel that changed one would break its own clients.
#pragma once

#include <linux/tee.h>

#include <cstddef>

namespace kennel {

static_assert(TEE_IOC_VERSION == 0x800ca400);
static_assert(TEE_IOC_SHM_ALLOC == 0xc010a401);
static_assert(TEE_IOC_OPEN_SESSION == 0x8010a402);
static_assert(TEE_IOC_INVOKE == 0x8010a403);
static_assert(TEE_IOC_CANCEL == 0x8008a404);
static_assert(TEE_IOC_CLOSE_SESSION == 0x8004a405);

static_assert(sizeof(tee_ioctl_version_data) == 12);
static_assert(offsetof(tee_ioctl_version_data, impl_id) == 0);
static_assert(offsetof(tee_ioctl_version_data, impl_caps) == 4);
static_assert(offsetof(tee_ioctl_version_data, gen_caps) == 8);

static_assert(sizeof(tee_ioctl_shm_alloc_data) == 16);
static_assert(offsetof(tee_ioctl_shm_alloc_data, size) == 0);
static_assert(offsetof(tee_ioctl_shm_alloc_data, flags) == 8);
static_assert(offsetof(tee_ioctl_shm_alloc_data, id) == 12);

static_assert(sizeof(tee_ioctl_buf_data) == 16);
static_assert(offsetof(tee_ioctl_buf_data, buf_ptr) == 0);
static_assert(offsetof(tee_ioctl_buf_data, buf_len) == 8);

static_assert(sizeof(tee_ioctl_param) == 32);
static_assert(offsetof(tee_ioctl_param, attr) == 0);
static_assert(offsetof(tee_ioctl_param, a) == 8);
static_assert(offsetof(tee_ioctl_param, b) == 16);
static_assert(offsetof(tee_ioctl_param, c) == 24);

static_assert(sizeof(tee_ioctl_open_session_arg) == 56);
static_assert(offsetof(tee_ioctl_open_session_arg, uuid) == 0);
static_assert(offsetof(tee_ioctl_open_session_arg, clnt_uuid) == 16);
static_assert(offsetof(tee_ioctl_open_session_arg, clnt_login) == 32);
static_assert(offsetof(tee_ioctl_open_session_arg, cancel_id) == 36);
static_assert(offsetof(tee_ioctl_open_session_arg, session) == 40);
static_assert(offsetof(tee_ioctl_open_session_arg, ret) == 44);
static_assert(offsetof(tee_ioctl_open_session_arg, ret_origin) == 48);
static_assert(offsetof(tee_ioctl_open_session_arg, num_params) == 52);
static_assert(offsetof(tee_ioctl_open_session_arg, params) == 56);

static_assert(sizeof(tee_ioctl_invoke_arg) == 24);
static_assert(offsetof(tee_ioctl_invoke_arg, func) == 0);
static_assert(offsetof(tee_ioctl_invoke_arg, session) == 4);
static_assert(offsetof(tee_ioctl_invoke_arg, cancel_id) == 8);
static_assert(offsetof(tee_ioctl_invoke_arg, ret) == 12);
static_assert(offsetof(tee_ioctl_invoke_arg, ret_origin) == 16);
static_assert(offsetof(tee_ioctl_invoke_arg, num_params) == 20);
static_assert(offsetof(tee_ioctl_invoke_arg, params) == 24);

static_assert(sizeof(tee_ioctl_cancel_arg) == 8);
static_assert(offsetof(tee_ioctl_cancel_arg, cancel_id) == 0);
static_assert(offsetof(tee_ioctl_cancel_arg, session) == 4);

static_assert(sizeof(tee_ioctl_close_session_arg) == 4);

}  // namespace kennel
