FROM -> the image that all begins with
RUN -> what is done while it is built
