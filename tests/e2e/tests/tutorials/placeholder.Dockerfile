# 1. The base
FROM <image>:<tag>
RUN command
