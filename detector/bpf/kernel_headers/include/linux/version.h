/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#include <linux/types.h>
/* Only compared against: the program asks the kernel for nothing that depends on it. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 8, 0)
