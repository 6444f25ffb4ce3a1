/** Structures, request numbers and flags of the Linux user API on 64-bit hosts; a compiled C program proves each in the tests. */

/** Offsets in bytes, by field; `size` is the whole. Names are the kernel's, so that a reader can look them up. */
export const LAYOUT = Object.freeze({
  /** <linux/i2c.h> */
  i2c_msg: { addr: 0, flags: 2, len: 4, buf: 8, size: 16 },
  /** <linux/i2c-dev.h> */
  i2c_rdwr_ioctl_data: { msgs: 0, nmsgs: 8, size: 16 },
  i2c_smbus_ioctl_data: { read_write: 0, command: 1, size_: 4, data: 8, size: 16 },
  /** <linux/spi/spidev.h> */
  spi_ioc_transfer: { tx_buf: 0, rx_buf: 8, len: 16, speed_hz: 20, bits_per_word: 26, size: 32 },
  /** <linux/gpio.h> */
  gpio_v2_line_request: {
    offsets: 0,
    consumer: 256,
    config: 288,
    num_lines: 560,
    event_buffer_size: 564,
    fd: 588,
    size: 592,
  },
  gpio_v2_line_config: { flags: 0, num_attrs: 8, size: 272 },
  gpio_v2_line_values: { bits: 0, mask: 8, size: 16 },
  gpio_v2_line_event: { timestamp_ns: 0, id: 8, offset: 12, seqno: 16, line_seqno: 20, size: 48 },
  /** <poll.h> */
  pollfd: { fd: 0, events: 4, revents: 6, size: 8 },
} as const);

/** `request` of ioctl. */
export const REQUEST = Object.freeze({
  I2C_RETRIES: 0x0701n,
  I2C_TIMEOUT: 0x0702n,
  I2C_SLAVE: 0x0703n,
  I2C_FUNCS: 0x0705n,
  I2C_RDWR: 0x0707n,
  I2C_SMBUS: 0x0720n,
  "SPI_IOC_MESSAGE(1)": 0x4020_6b00n,
  SPI_IOC_WR_MODE32: 0x4004_6b05n,
  GPIO_V2_GET_LINE_IOCTL: 0xc250_b407n,
  GPIO_V2_LINE_GET_VALUES_IOCTL: 0xc010_b40en,
  GPIO_V2_LINE_SET_VALUES_IOCTL: 0xc010_b40fn,
} as const);

export const FLAG = Object.freeze({
  I2C_M_RD: 0x0001,
  I2C_FUNC_I2C: 0x0000_0001,
  I2C_SMBUS_READ: 1,
  I2C_SMBUS_WRITE: 0,
  I2C_SMBUS_BYTE: 1,
  I2C_SMBUS_BYTE_DATA: 2,
  I2C_SMBUS_I2C_BLOCK_DATA: 8,
  I2C_SMBUS_BLOCK_MAX: 32,
  GPIO_V2_LINE_FLAG_INPUT: 4,
  GPIO_V2_LINE_FLAG_OUTPUT: 8,
  GPIO_V2_LINE_FLAG_EDGE_RISING: 16,
  GPIO_V2_LINE_FLAG_EDGE_FALLING: 32,
  GPIO_V2_LINE_EVENT_RISING_EDGE: 1,
  GPIO_V2_LINE_EVENT_FALLING_EDGE: 2,
  POLLIN: 1,
  POLLERR: 8,
  POLLHUP: 16,
  O_RDWR: 2,
  O_CLOEXEC: 0o2000000,
  EFD_CLOEXEC: 0o2000000,
  EFD_NONBLOCK: 0o4000,
} as const);

/** errno, as of the generic Linux table that x86-64 and arm64 share. */
export const ERRNO = Object.freeze({
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EAGAIN: 11,
  EACCES: 13,
  EBUSY: 16,
  ENODEV: 19,
  EINVAL: 22,
  ENOTTY: 25,
  EOPNOTSUPP: 95,
  ESHUTDOWN: 108,
  ETIMEDOUT: 110,
  EREMOTEIO: 121,
} as const);
